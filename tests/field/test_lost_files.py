"""Files that people lost, or could have: --force and outputs reach nothing that is not ours.

The rule itself is tested in tests/test_outputs.py; these are the situations, through the command.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from factories.adapters import adapter, trio
from factories.checkpoints import base
from faults.refuse import command, tree


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Two adapters and their base, in folders of their own."""
    base(tmp_path / "base")
    named = str(tmp_path / "base")
    return [
        str(adapter(tmp_path / "in" / name, seed=seed, base_model_name_or_path=named))
        for seed, name in enumerate("ab")
    ]


def kept(root: Path, *arguments: object, why: str = "the output") -> None:
    """Refused, with everything as it was."""
    before = tree(root)
    code, errors = command(*arguments)
    assert code == 1, errors
    assert why in errors
    assert "Traceback" not in errors
    assert tree(root) == before


@pytest.mark.parametrize("named", ["--base", "by the adapters", "not at all"])
def test_a_base_with_an_adapter_config_next_to_its_weights(
    tmp_path: Path, sources: list[str], named: str
) -> None:
    """Round-3 report, kind E: `merge A B -o M --base M --extras sum --force` deleted the base."""
    model = tmp_path / "base"
    shutil.copy(Path(sources[0]) / "adapter_config.json", model)
    if named == "not at all":
        for source in sources:
            adapter(Path(source), base_model_name_or_path="owner/base")
    options = ["--base", model, "--extras", "sum"] if named == "--base" else []
    kept(tmp_path, "merge", *sources, "-o", model, *options, "--force")
    for form in ("embedded", "full"):
        arguments = ["export", sources[0], "--format", form, "-o", model, "--base", model]
        kept(tmp_path, *arguments)
        kept(tmp_path, *arguments, "--force")


def test_a_run_with_the_base_in_it(tmp_path: Path, sources: list[str]) -> None:
    """Round-3 report, kind E: `-o RUN --base RUN/base --force`."""
    run = adapter(tmp_path / "run")
    shutil.move(tmp_path / "base", run / "base")
    kept(tmp_path, "merge", *sources, "-o", run, "--base", run / "base", "--force")
    merged = tmp_path / "merged"
    assert command("merge", *sources, "-o", merged)[0] == 0
    shutil.move(run / "base", merged / "base")
    kept(tmp_path, "merge", *sources, "-o", merged, "--base", merged / "base", "--force")
    kept(tmp_path, "merge", *sources, "-o", merged, "--force")


@pytest.mark.parametrize("output", [".", "./", "../run", "out/.."])
def test_a_recipe_that_names_its_own_folder(
    tmp_path: Path, sources: list[str], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round-3 report, kind E: `output: .` and --force deleted recipe and checkpoints."""
    run = adapter(tmp_path / "run")
    (run / "checkpoint-200").mkdir()
    (run / "checkpoint-200" / "optimizer.pt").write_bytes(b"state")
    recipe = run / "recipe.yaml"
    recipe.write_text(f"adapters: {json.dumps(sources)}\noutput: {output}\n")
    (run / "out").mkdir()
    kept(tmp_path, "merge", recipe, "--force")
    monkeypatch.chdir(run)
    kept(tmp_path, "merge", "recipe.yaml", "--force")


@pytest.fixture
def merged(tmp_path: Path, sources: list[str]) -> Path:
    assert command("merge", *sources, "-m", "task-arithmetic", "-o", tmp_path / "merged")[0] == 0
    return tmp_path / "merged"


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "method.py", "samples.jsonl", "tokenizer.json", "notes", ".gitignore"]
)
def test_a_merge_in_which_something_was_put(
    tmp_path: Path, sources: list[str], merged: Path, name: str
) -> None:
    (merged / name).write_text("mine")
    kept(tmp_path, "merge", *sources, "-o", merged, "--force", why=name)


def test_a_merge_that_was_trained_further(tmp_path: Path, sources: list[str], merged: Path) -> None:
    """PEFT saves over the weights, and the record of the merge stays next to them."""
    adapter(merged, seed=7)
    kept(tmp_path, "merge", *sources, "-o", merged, "--force", why="adapter_model.safetensors")


def test_a_model_card_that_was_written_further(
    tmp_path: Path, sources: list[str], merged: Path
) -> None:
    with (merged / "README.md").open("a") as card:
        card.write("\nTwo weeks of evaluation.\n")
    kept(tmp_path, "merge", *sources, "-o", merged, "--force", why="README.md")


def test_a_merge_of_merges_over_its_input(tmp_path: Path, sources: list[str], merged: Path) -> None:
    before = tree(merged)
    (tmp_path / "link").symlink_to(merged)
    for target in (
        merged,
        tmp_path / "link",
        merged / "." / "..",
        tmp_path / "in" / ".." / "merged",
    ):
        for source in (merged, tmp_path / "link"):
            arguments = ["merge", sources[0], source, "-o", target, "--force"]
            kept(tmp_path, *arguments, why="would replace an input")
    assert tree(merged) == before
    assert command("merge", *sources, "-o", merged, "--force")[0] == 0


def test_what_is_ours_is_still_replaced(tmp_path: Path, sources: list[str], merged: Path) -> None:
    before = tree(merged)
    assert command("merge", *sources, "-m", "task-arithmetic", "-o", merged, "--force")[0] == 0
    assert tree(merged) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "in", "merged"]


def test_results_of_one_kind_do_not_replace_another(
    tmp_path: Path, sources: list[str], merged: Path
) -> None:
    exported = tmp_path / "exported"
    arguments = ["export", sources[0], "--format", "full", "-o"]
    assert command(*arguments, exported)[0] == 0
    kept(tmp_path, *arguments, merged, "--force", why="is not an export")
    kept(tmp_path, "merge", *sources, "-o", exported, "--force", why="is not a merge")
    (exported / "model.safetensors").write_bytes(b"fine-tuned")
    kept(tmp_path, *arguments, exported, "--force", why="model.safetensors")


@pytest.mark.parametrize("name", ["adapter_config.json", "paper.json", "paper.html"])
def test_a_report_over_something_else(tmp_path: Path, name: str) -> None:
    """`diagnose A B -o A/adapter_config.json` has the ending of a report."""
    first, *others = trio(tmp_path / "in")
    path = Path(first) / name
    if not path.exists():
        path.write_text('{"mine": 1}')
    kept(tmp_path, "diagnose", first, *others, "-o", path)
    report = tmp_path / "report.json"
    for _ in range(2):
        assert command("diagnose", first, *others, "-o", report)[0] == 0
    assert "verdict" in json.loads(report.read_text())


@pytest.mark.parametrize("form", ["md", "png"])
def test_a_report_in_a_folder_of_something_else(tmp_path: Path, form: str) -> None:
    """A folder of images called report.md and spectra.png was written over, file by file."""
    sources = trio(tmp_path / "in")
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "report.md").write_text("mine")
    for target in (tmp_path / "paper", tmp_path, Path(sources[0])):
        kept(tmp_path, "diagnose", *sources, "-o", target, "--format", form)


def test_links_that_lead_through_a_folder_that_goes(
    tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links of `../base` from a scratch folder went through it, and broke with it."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "scratch")
    arguments = ["--format", "embedded", "--base", "../base", "-o", "../out"]
    assert command("export", sources[0], *arguments)[0] == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").rmdir()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llava"
