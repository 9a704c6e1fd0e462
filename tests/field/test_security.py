"""What an adapter, a base, a recipe or a name of somebody else may do here: nothing."""

from __future__ import annotations

import json
import re
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from factories.adapters import adapter, older_merge, trio
from factories.charts import small
from factories.checkpoints import base
from faults.refuse import command, merge, refused, tree
from robustmerge.diagnosis.report import files as report_files
from robustmerge.engine.card import model_card
from robustmerge.escape import code_span, has_control, markdown, printable
from robustmerge.files import check_inside

SECRET = "do not publish"


def test_torch_is_new_enough_to_trust_weights_only() -> None:
    """Kind I: torch before 2.6 runs code from a file in spite of weights_only."""
    needed = [line for line in requires("robustmerge") or [] if re.match(r"torch\b", line)]
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert needed
    bounds = re.findall(r'"torch>=(\d+)\.(\d+)"', text)
    assert bounds
    assert all((int(major), int(minor)) >= (2, 6) for major, minor in bounds)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plugin that leaves a trace when it runs."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from pathlib import Path\n"
        "from robustmerge.factors import Factors, Stack\n"
        "from robustmerge.methods import method\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n\n\n"
        f"@method('first-{tmp_path.name}', paper='none', gauge_invariant=True)\n"
        "def first(stack: Stack) -> Factors:\n"
        "    '''Take the first.'''\n"
        "    return stack.factors[0]\n"
    )
    return file


@pytest.mark.parametrize("known", [True, False])
def test_a_dry_run_of_a_recipe_runs_no_plugin(
    tmp_path: Path, plugin: Path, known: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    method = "ties" if known else f"first-{tmp_path.name}"
    recipe = tmp_path / "recipe.yaml"
    content = {"adapters": trio(tmp_path / "in"), "plugins": ["./mine.py"], "method": method}
    recipe.write_text(json.dumps(content))
    code, errors = command("merge", recipe, "--dry-run")
    assert not (tmp_path / "ran").exists()
    assert code == (0 if known else 1)
    assert known or "--plugin" in errors
    capsys.readouterr()
    # The advice, taken literally.
    code, errors = command("merge", recipe, "--dry-run", "--plugin", plugin)
    assert (tmp_path / "ran").exists()
    assert code == 0, errors


def test_a_dry_run_with_plugins_knows_methods_that_run_the_base(
    tmp_path: Path, plugin: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    content = {"adapters": trio(tmp_path / "in"), "plugins": [str(plugin)], "method": "relay"}
    recipe.write_text(json.dumps(content))
    code, errors = command("merge", recipe, "--dry-run")
    assert code == 1
    assert "'relay' runs the base model" in errors


@pytest.mark.parametrize("where", ["merging", "entry"])
def test_a_dry_run_of_a_study_runs_no_plugin(tmp_path: Path, plugin: Path, where: str) -> None:
    entry = {"method": f"first-{tmp_path.name}", "label": "mine"}
    merging: dict[str, object] = {"plugins": ["./mine.py"]} if where == "merging" else {}
    entry |= {"plugins": ["./mine.py"]} if where == "entry" else {}  # type: ignore[dict-item]
    study = tmp_path / "study.yaml"
    content = {"base": "owner/base", "merging": merging, "methods": [entry], "tasks": "vqav2"}
    content |= {"adapters": {"vqav2": str(adapter(tmp_path / "a"))}}
    study.write_text(json.dumps(content))
    arguments = ["bench", "study", study, "-o", tmp_path / "out", "--data", tmp_path, "--dry-run"]
    code, errors = command(*arguments)
    assert not (tmp_path / "ran").exists()
    assert code == 1
    assert "a dry run leaves out" in errors


LINKED = ["config.json", "tokenizer.json", "chat_template.jinja", "additional_chat_templates/x"]


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("options", [["full"], ["embedded"], ["embedded", "--copy"]])
def test_a_link_out_of_a_base_is_not_copied(tmp_path: Path, name: str, options: list[str]) -> None:
    model = base(tmp_path / "base")
    (tmp_path / "secret").write_text(json.dumps({"model_type": SECRET}))
    path = model / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "secret")
    source = adapter(tmp_path / "a")
    arguments = ["export", source, "-o", tmp_path / "out", "--base", model, "--format", *options]
    code, errors = command(*arguments)
    assert code == 1
    assert "a link leads out of the folder" in errors
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_link_is_not_copied(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text(SECRET)
    (model / "additional_chat_templates").symlink_to(tmp_path / "private")
    arguments = ["export", adapter(tmp_path / "a"), "-o", tmp_path / "out", "--base", model]
    code, errors = command(*arguments, "--format", "full")
    assert (code, "leads out" in errors) == (1, True)
    assert SECRET.encode() not in tree(tmp_path / "out").values()


def test_a_link_out_of_an_adapter_is_not_copied(tmp_path: Path) -> None:
    """The original layout copies the adapter's config.json."""
    sources = trio(tmp_path / "in")
    (tmp_path / "secret").write_text(SECRET)
    (Path(sources[0]) / "config.json").symlink_to(tmp_path / "secret")
    refused(lambda: merge(sources, tmp_path / "out", layout="llava"), "a link leads out")
    assert not (tmp_path / "out").exists()


def test_links_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "1"
    for folder in (blobs, snapshot / "sub"):
        folder.mkdir(parents=True)
    (blobs / "abc").write_text("{}")
    for path in (snapshot / "config.json", snapshot / "sub" / "config.json"):
        path.symlink_to(blobs / "abc")
        assert check_inside(path, path.parent) == path
    (tmp_path / "other").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to(tmp_path / "other")
    refused(lambda: check_inside(snapshot / "tokenizer.json", snapshot), "leads out")
    (snapshot / "within.json").symlink_to("config.json")
    assert check_inside(snapshot / "within.json", snapshot)


NAMES = ["a|b", "<img src=x>", "[here](x.y)", "`code`", "**bold**", "a\n# Title", "_x_", "$x$"]

ALIVE = re.compile(r"(?<!\\)(<img|\]\(x\.y|\*\*bold|`code`|\n# Title| _x_| \$x)")


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_model_card(tmp_path: Path, name: str) -> None:
    source = adapter(tmp_path / name, base_model_name_or_path=name)
    report = merge([source], tmp_path / "out", method="task-arithmetic")
    body = model_card(report).split("---\n", 2)[2]
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    assert len({len(re.split(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert f"| {markdown(name)} |" in body
    assert not ALIVE.search(body.replace(code_span(name), ""))


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_report(tmp_path: Path, name: str) -> None:
    diagnosis = small()
    object.__setattr__(diagnosis, "notes", (f"a note on {name}",))
    report_files.write_report(diagnosis, tmp_path / "out", "md")
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"> {markdown(f'a note on {name}')}\n" in text
    assert not ALIVE.search(text)


def test_names_that_need_nothing_stay_as_they_are() -> None:
    for name in ("owner/my_adapter-v1.5", "vqa", "layers.0.q_proj", "50 %", "a#b", "über"):
        assert markdown(name) == name
        assert code_span(name) == f"`{name}`"
    assert code_span("a`b``c") == "``` a`b``c ```"


ESCAPES = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "\x1b[2K\x1b[1A", "\u202egnp.exe"]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_that_a_terminal_would_obey(
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In folders, settings, tensors, options and recipes."""
    folder = adapter(tmp_path / "a", base_model_name_or_path=f"owner/{name}")
    tensor = adapter(tmp_path / "b", modules={f"layers.0.{name}": (6, 8)})
    odd = adapter(tmp_path / name)
    monkeypatch.setenv("COLUMNS", "200")
    for arguments in (
        *(["show", source] for source in (folder, tensor, odd)),
        *(["check", source] for source in (folder, tensor, odd)),
        *(["merge", source, "-o", tmp_path / "out", "--force"] for source in (folder, tensor, odd)),
        ["merge", odd, "-o", tmp_path / "new", "-m", name],
        ["diagnose", odd, odd],
        ["merge", tmp_path / f"no {name}", "-o", tmp_path / "new"],
        ["merge", odd, "-o", tmp_path / "new", "--set", f"{name}=1"],
        ["export", odd, "--format", "full", "--base", name, "-o", tmp_path / "new"],
    ):
        code, errors = command(*arguments)
        text = errors + capsys.readouterr().out
        assert not has_control(text), (arguments, text)
        assert code in (0, 1, 2)
        assert "Traceback" not in text


def test_printable() -> None:
    assert printable("a\tb\nc é 漢 \x1b[0m\x00") == "a\tb\nc é 漢 \\x1b[0m\\x00"
    assert has_control({"a": [{"b": "\x1b"}]})
    assert not has_control({"a": [1, None, "fine\n"]})


def test_tensors_and_settings_with_escapes_are_refused(tmp_path: Path) -> None:
    older_merge(tmp_path / "fine")
    folder = adapter(tmp_path / "a")
    save_file(
        {"base_model.model.\x1b.lora_A.weight": torch.ones(4, 8)},
        folder / "adapter_model.safetensors",
    )
    refused(lambda: merge([folder], tmp_path / "out"), "control characters in its name")
    folder = adapter(tmp_path / "b", task_type="\x1b[2J")
    refused(lambda: merge([folder], tmp_path / "out"), "control characters in the settings")
