"""The tree is the architecture: arrows point one way, files stay small, light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import robustmerge

ROOT = Path(robustmerge.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A file may import from its own layer and those above it in this list.
LAYERS = (
    ("errors", "basis"),
    ("factors",),
    ("linalg",),
    ("adapter", "methods"),
    ("testing", "steps", "inspect"),
    ("engine", "export"),
    ("diagnosis",),
    ("landed",),
    ("collect",),
    ("api", "peft"),
    ("bench",),
    ("cli",),
    ("__init__", "__main__"),
)
LIVE = ("peft", "landed", "collect", "bench")
# Its models; what runs, scores and judges needs neither library.
LIVE_IN_BENCH = ("training", "student", "engines", "lmms", "clip")
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports, anywhere in it."""
    package = ["robustmerge", *path.relative_to(ROOT).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = [*start, *(node.module.split(".") if node.module else [])]
            names = [base] if len(base) > 1 else [[*base, a.name] for a in node.names]
            found |= {n[1] for n in names if n[0] == "robustmerge" and len(n) > 1}
        elif isinstance(node, ast.Import):
            parts = [a.name.split(".") for a in node.names]
            found |= {p[1] for p in parts if p[0] == "robustmerge" and len(p) > 1}
    return found - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    for name in imported(path):
        assert LEVEL[name] <= LEVEL[layer(path)], f"{path} imports {name}"
    if layer(path) in ("adapter", "methods"):
        assert not imported(path) & ({"adapter", "methods"} - {layer(path)})


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            doc = ast.get_docstring(node) or ""
            body = node.end_lineno - node.body[0].lineno + 1 - doc.count("\n")
            assert body <= 50, f"{path}: {node.name} has {body} lines"


def libraries(path: Path) -> set[str]:
    """What a file imports of others, anywhere in it."""
    return {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level
    }


def test_only_the_report_draws() -> None:
    drawing = {path for path in FILES if libraries(path) & {"altair", "vl_convert", "matplotlib"}}
    assert drawing
    for path in drawing:
        assert path.parent == ROOT / "diagnosis" / "report", path


def test_few_files_know_peft_and_transformers() -> None:
    for path in FILES:
        names = libraries(path)
        live = layer(path) in LIVE
        if layer(path) == "bench":
            live = bool({path.stem, path.parent.name} & set(LIVE_IN_BENCH))
        assert not names & {"peft", "transformers"} or live, path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["merge", "--help"],
        ["collect", "--help"],
        ["diagnose", "--help"],
        ["export", "--help"],
        ["bench", "lmms-tasks"],
        ["merge", "--nonsense"],
        ["bench", "mini", "run", "--help"],
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


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, robustmerge\nassert 'torch' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
