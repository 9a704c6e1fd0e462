"""The tree is the architecture: arrows point one way, files stay small, light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import robustmerge
import robustmerge_bench

# A unit is a file or folder of a package. It may import from its own floor and those above it here.
FLOORS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "robustmerge": (
        ("_version", "errors"),
        (
            "basis",
            "cluster",
            "depth",
            "escape",
            "families",
            "files",
            "krylov",
            "outputs",
            "parameters",
            "quadratic",
            "scale_rules",
            "statistic_kinds",
            "threads",
        ),
        ("factors",),
        ("linalg",),
        ("adapter", "methods"),
        ("checks", "steps", "testing"),
        ("derive", "engine", "export"),
        ("diagnosis", "live"),
        ("collect",),
        ("prompted",),
        ("polish",),
        ("tuning",),
        ("api", "peft", "single"),
        ("cli",),
        ("__init__", "__main__"),
    ),
    "robustmerge_bench": (
        ("item", "quiet"),
        ("metrics", "results"),
        ("jobs",),
        ("mini", "paper"),
        ("midi",),
        ("objectives",),
        ("cli",),
        ("__init__",),
    ),
    "robustmerge_bench.paper": (
        ("figures", "tasks"),
        ("data",),
        ("score",),
        ("scoring",),
        ("answering",),
        ("training",),
        ("study",),
        ("lmms",),
        ("__init__",),
    ),
    "robustmerge_bench.midi": (
        ("sources",),
        ("images",),
        ("tasks",),
        ("training",),
        ("student",),
        ("gates", "geometry", "world", "zero_shot"),
        ("artifact",),
        ("__init__",),
    ),
    "robustmerge_bench.mini": (
        ("world",),
        ("tasks",),
        ("training",),
        ("greedy", "switched"),
        ("student",),
        ("artifact", "runs"),
        ("ranking",),
        ("__init__",),
    ),
}
OFFERED: Mapping[str, tuple[str, ...]] = {
    "public functions and registries": ("robustmerge", "robustmerge.methods", "robustmerge.steps"),
    "ground floor": (
        "robustmerge.errors",
        "robustmerge.escape",
        "robustmerge.families",
        "robustmerge.files",
        "robustmerge.outputs",
        "robustmerge.parameters",
        "robustmerge.statistic_kinds",
        "robustmerge.threads",
    ),
    "recipes, what they need, and YAML files in their style": (
        "robustmerge.engine.data",
        "robustmerge.engine.merge",
        "robustmerge.engine.options",
        "robustmerge.engine.polishing",
        "robustmerge.engine.recipe",
        "robustmerge.engine.values",
        "robustmerge.engine.yaml_file",
    ),
    "names and tensors in adapters, base models and downloads": (
        "robustmerge.adapter.base",
        "robustmerge.adapter.layout",
        "robustmerge.adapter.reader",
        "robustmerge.adapter.source",
        "robustmerge.adapter.tensor_files",
        "robustmerge.adapter.tensors",
        "robustmerge.linalg",
    ),
    "models and samples in transformers and PEFT": (
        "robustmerge.collect.folders",
        "robustmerge.collect.gradients",
        "robustmerge.collect.load",
        "robustmerge.collect.processor",
        "robustmerge.live.loaded",
    ),
    "measures for a search": ("robustmerge.tuning.answers", "robustmerge.tuning.objective"),
    "jobs on a cluster": ("robustmerge.cli.cluster",),
    "what verbs print": ("robustmerge.cli.optional", "robustmerge.cli.rows"),
}
"""The modules of the merger that the benchmark imports, by purpose; all others are its own."""

APART = ("adapter", "methods")
"""Units of one floor that must not know each other."""
MODELS = {
    "robustmerge": ("collect", "live", "peft", "polish", "prompted", "tuning"),
    "robustmerge_bench": ("training", "student", "gates", "engines", "lmms", "clip", "quiet"),
}
"""Units, or folders and files of the benchmark, that may import PEFT and transformers."""

PACKAGES = {p.__name__: Path(p.__file__).parent for p in (robustmerge, robustmerge_bench)}
FILES = {
    ".".join([name, *path.relative_to(root).with_suffix("").parts]): path
    for name, root in PACKAGES.items()
    for path in sorted(root.rglob("*.py"))
}
"""Every file by its dotted name, that of a package's own file ending in `__init__`."""


def file_of(module: str) -> str | None:
    """The file that a dotted module name means."""
    return next((m for m in (module, f"{module}.__init__") if m in FILES), None)


def all_imports(module: str) -> Iterator[str]:
    """The files of both packages that a file imports, also inside functions and for types alone."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from filter(None, (file_of(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                file = file_of(f"{home}.{alias.name}") or file_of(home)
                if file and file != module:
                    yield file


def unit(module: str, package: str) -> str | None:
    """The unit of a package that a file belongs to."""
    return module[len(package) + 1 :].split(".")[0] if module.startswith(package + ".") else None


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module: str) -> None:
    for package, floors in FLOORS.items():
        level = {name: number for number, names in enumerate(floors) for name in names}
        here = unit(module, package)
        if here is None:
            continue
        for imported in all_imports(module):
            there = unit(imported, package)
            if there is None or imported == f"{package}.__init__":
                continue
            assert level[there] <= level[here], f"{module} imports {imported}"
            assert here == there or not {here, there} <= set(APART), f"{module} imports {imported}"


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("robustmerge.")])
def test_the_merger_does_not_know_the_benchmark(module: str) -> None:
    assert not [i for i in all_imports(module) if i.startswith("robustmerge_bench.")]


def test_the_benchmark_uses_what_is_meant_for_it() -> None:
    used = {i for m in FILES if m.startswith("robustmerge_bench.") for i in all_imports(m)}
    used = {i.removesuffix(".__init__") for i in used if i.startswith("robustmerge.")}
    assert used == {module for modules in OFFERED.values() for module in modules}


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({m: set(all_imports(m)) - {m} for m in FILES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", FILES)
def test_files_and_functions_stay_small(module: str) -> None:
    text = FILES[module].read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            doc = ast.get_docstring(node) or ""
            body = node.end_lineno - node.body[0].lineno + 1 - doc.count("\n")
            assert body <= 50, f"{module}: {node.name} has {body} lines"


def libraries(module: str) -> set[str]:
    """What a file imports of others, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


WRITES = {"rmtree", "unlink", "rmdir", "rename", "write_text", "write_bytes", "copyfile"}
WRITERS = {
    "robustmerge.files": "single files",
    "robustmerge.outputs": "folders",
    "robustmerge.engine.merge": "inside a new folder",
    "robustmerge.adapter.tokenizer": "inside a new folder",
    "robustmerge.derive.opened": "inside a new folder",
    "robustmerge.export.companions": "inside a new folder",
    "robustmerge.diagnosis.report.files": "inside a new folder",
    "robustmerge.tuning.scaled": "inside a temporary folder",
    "robustmerge.prompted.keep": "a temporary file, which it made itself",
    "robustmerge_bench.paper.training.record": "inside a new folder",
    "robustmerge_bench.mini.artifact": "inside a new folder",
    "robustmerge_bench.mini.runs.unlabeled": "inside a temporary folder",
    "robustmerge_bench.midi.sources.archives": "inside the new folder of the download",
    "robustmerge_bench.midi.sources.fetch": "a verified download, and its content in a new folder",
    "robustmerge_bench.midi.artifact": "inside a new folder, and a root where there is none",
    "robustmerge_bench.midi.training.build": "the new base, where there is none",
    "robustmerge_bench.mini.training.language": "the new base, where there is none",
    "robustmerge_bench.mini.training.experts": "a new expert, where there is none",
    "robustmerge_bench.paper.training.session": "checkpoints that this training wrote",
    "robustmerge_bench.paper.training.checkpoints": "checkpoints, after a check",
    "robustmerge_bench.paper.study.limited": "inside the study's own folder",
    "robustmerge_bench.paper.study.folder": "answers that the study's record names",
}
"""The files that write, rename or remove by themselves; all others ask `files` and `outputs`."""


def test_few_files_write_or_remove() -> None:
    calls = {
        (module, node.func.attr)
        for module, file in FILES.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in WRITES
    }
    assert {module for module, _ in calls} == WRITERS.keys(), sorted(calls)


def test_only_the_report_draws() -> None:
    drawing = {m for m in FILES if libraries(m) & {"altair", "vl_convert", "matplotlib"}}
    assert drawing
    for module in drawing:
        assert module.startswith("robustmerge.diagnosis.report."), module


@pytest.mark.parametrize("module", FILES)
def test_few_files_know_peft_and_transformers(module: str) -> None:
    if libraries(module) & {"peft", "transformers"}:
        package, *parts = module.split(".")
        allowed = {parts[0]} if package == "robustmerge" else set(parts)
        assert allowed & set(MODELS[package])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["merge", "--help"],
        ["collect", "--help"],
        ["diagnose", "--help"],
        ["export", "--help"],
        ["resize", "--help"],
        ["extract", "--help"],
        ["convert", "--help"],
        ["tune", "--help"],
        ["bench", "lmms-tasks"],
        ["merge", "--nonsense"],
        ["bench", "mini", "run", "--help"],
        ["bench", "midi", "run", "--help"],
        ["bench", "score", "--help"],
        ["bench", "train", "--help"],
        ["bench", "study", "--help"],
        ["bench", "table", "--help"],
    ],
)
def test_help_and_usage_errors_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom robustmerge.cli.app import run\n"
        f"run({arguments!r})\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_does_not_import_torch(package: str) -> None:
    code = f"import sys, {package}\nassert 'torch' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
