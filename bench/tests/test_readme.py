"""What the README shows is what the command prints, and its figures are those of the benchmark."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from robustmerge.cli.app import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPERTS = ROOT / "bench" / "artifacts" / "mini" / "experts" / "shared-0"


def sessions() -> list[tuple[str, str]]:
    """Return the commands of the quick start with the output that the README shows."""
    section = README.split("## Quick start")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    parts = [part for block in blocks for part in block.split("$ ")[1:]]
    return [tuple(part.split("\n", 1)) for part in parts]  # type: ignore[misc]


def matches_readme(text: str, output: str) -> bool:
    """Return whether an output is what the README shows; a line of … stands for any lines."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    parts = [part.strip("\n").splitlines() for part in re.split(r"^…$", text, flags=re.MULTILINE)]
    start = 0
    for part in parts:
        starts = [i for i in range(start, len(lines)) if lines[i : i + len(part)] == part]
        if part and not starts:
            return False
        start = starts[0] + len(part) if part else start
    return bool(parts[0] == [] or lines[: len(parts[0])] == parts[0])


def test_the_quick_start_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in ("vqa", "ocr", "rec"):
        shutil.copytree(EXPERTS / task, tmp_path / task)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "88")
    assert len(sessions()) >= 3
    for command, shown in sessions():
        written = command.split("#")[0].replace("../../base", str(EXPERTS.parents[1] / "base"))
        program, *arguments = written.split()
        assert program == "robustmerge"
        run(arguments)
        output = capsys.readouterr().out
        assert matches_readme(shown, output), f"{command}\n{output}"


@pytest.mark.parametrize(
    ("method", "experts", "row", "column"),
    [
        ("ace", "shared, seeds 0, 1, 2", "best factor, tuned on validation data", -1),
        ("robustmerge", "shared, seeds 0, 1, 2", "own scale", 4),
    ],
)
def test_the_figures_of_the_recommendation(
    method: str, experts: str, row: str, column: int
) -> None:
    document = (ROOT / "docs" / "minibench.md").read_text(encoding="utf-8")
    table = document.split(f"#### {experts}: {row}\n")[1].split("\n#")[0]
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {method} |")]
    kept = line.strip("| ").split(" | ")[column].split(" ")[0]
    (shown,) = [
        line for line in README.splitlines() if f"`--method {method}" in line and "%" in line
    ]
    assert f" {kept}%" in shown


BASE, EXPERT = 43.8, 94.4  # averages on seen tasks, docs/ours-relay.md


@pytest.mark.parametrize(
    ("page", "words", "rows"),
    [
        ("ours.md", "which is DRIFT", ("rank of one expert", "full rank")),
        ("ours-relay.md", "--method relay", ("rank of one expert (4)", "sum of ranks (32)")),
    ],
)
def test_the_shares_of_our_own_methods(page: str, words: str, rows: tuple[str, ...]) -> None:
    """They are those of the means over six sets of experts in the methods' own tables."""
    document = (ROOT / "docs" / page).read_text(encoding="utf-8")
    shares = []
    for row in rows:
        (line,) = [line for line in document.splitlines() if line.startswith(f"| {row} |")]
        seen = [float(cell.split(" / ")[0]) for cell in line.split("|")[2:8]]
        shares.append(f"{100 * (sum(seen) / 6 - BASE) / (EXPERT - BASE):.0f}%")
    (shown,) = [line for line in README.splitlines() if words in line and "%" in line]
    assert ", ".join(shares) in shown
