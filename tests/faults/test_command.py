"""The command when its output is cut off, its arguments are odd, or its world is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from factories.adapters import trio
from faults.refuse import command, tree

ODD = ["a b", "a\nb", "ü€😀", "-dash", "[red]b[/]", "[/]", "'quote\"", "%s{x}$HOME", "a:b@c", "*"]


LINES = {
    "table": "robustmerge methods | true",
    "merge": "robustmerge merge in/* -o read 2>&1 --json | true",
    "closed": "robustmerge merge in/* -o closed >&- 2>&-",
    "bytes": "robustmerge merge odd/* -o odd/$'out\\xff'",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with adapters in `in`, and in `odd`, of whose names one is no UTF-8."""
    root = tmp_path_factory.mktemp("command")
    trio(root / "in")
    first, *_ = trio(root / "odd")
    Path(first).rename(os.fsdecode(os.fsencode(root) + b"/odd/\xff\xe9"))
    return root


@pytest.fixture(scope="module")
def done(root: Path) -> dict[str, tuple[int, bytes, bytes]]:
    """Exit code, output and errors of lines of shell, run side by side in a world of ASCII."""
    before = f'set -o pipefail; robustmerge() {{ {sys.executable} -m robustmerge "$@"; }}; '
    world = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    running = {
        name: subprocess.Popen(
            ["bash", "-c", before + line],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
            env=os.environ | world,
        )
        for name, line in LINES.items()
    }
    ended = {}
    for name, process in running.items():
        output, errors = process.communicate(timeout=100)
        ended[name] = (process.returncode, output, errors)
    return ended


@pytest.mark.parametrize("name", LINES)
def test_no_line_fails_or_complains(done: dict[str, tuple[int, bytes, bytes]], name: str) -> None:
    code, _, errors = done[name]
    assert code == 0, errors
    assert b"Error" not in errors
    assert b"Exception" not in errors


def test_a_merge_that_nobody_reads_is_a_merge(
    root: Path, done: dict[str, tuple[int, bytes, bytes]]
) -> None:
    assert tree(root / "read") == tree(root / "closed")
    assert len(tree(root / "read")) == 4


def test_bytes_that_are_no_text_reach_the_record(
    root: Path, done: dict[str, tuple[int, bytes, bytes]]
) -> None:
    out = os.fsdecode(b"odd/out\xff")
    assert b"out\\udcff" in done["bytes"][1]
    record = json.loads((root / out / "merge.json").read_text(encoding="utf-8"))
    assert {entry["source"] for entry in record["inputs"]} == {
        os.fsdecode(b"odd/\xff\xe9"),
        "odd/b",
        "odd/c",
    }
    card = (root / out / "README.md").read_text(encoding="utf-8")
    assert "odd/" not in card
    assert "udcff" in card
    assert card.count(" | 1 | 4 |") == 3


@pytest.mark.parametrize("name", ODD)
def test_names_of_all_kinds(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    sources = trio(tmp_path / name)
    assert command("merge", *sources, "-o", tmp_path / f"out {name}")[0] == 0
    assert name.splitlines()[0] in capsys.readouterr().out
    record = json.loads((tmp_path / f"out {name}" / "merge.json").read_text())
    assert [entry["source"] for entry in record["inputs"]] == sources
    code, errors = command("merge", *sources, "-o", tmp_path / f"out {name}")
    assert code == 1
    assert all(line in errors for line in name.splitlines())


@pytest.mark.parametrize("name", ODD)
def test_names_of_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["merge", f"./{name}"], ["merge", "./a", f"--methods={name}"]):
        code, errors = command(*arguments, "-o", "out")
        assert code in (1, 2)
        assert name.splitlines()[0].strip("-") in errors
        assert "Traceback" not in errors
    assert tree(tmp_path) == {}


def test_no_output_folder_is_a_users_error(tmp_path: Path) -> None:
    code, errors = command("merge", *trio(tmp_path))
    assert code == 1
    assert "hint: -o FOLDER" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["merge"],
        ["merge", "-o", "out"],
        ["merge", "a", "-o"],
        ["merge", "a", "-o", "out", "--workers", "many"],
        ["merge", "a", "-o", "out", "--seed", "x"],
        ["merge", "a", "-o", "out", "--nonsense"],
        ["merg", "a", "-o", "out"],
    ],
    ids=" ".join,
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, errors = command(*arguments)
    assert code == (2 if arguments else 0)
    assert "Traceback" not in errors
    assert tree(tmp_path) == {}
