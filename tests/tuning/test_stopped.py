"""A search that is stopped or killed goes on, wherever that was; two at once are kept apart."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cli.test_tune_command import EVALUATION
from factories.adapters import trio
from faults.moments import CODES, Ended, few_moments, run, start
from faults.refuse import tree
from robustmerge.files import read_json

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")

LINE = "tune a b c -o out --search scale --trials 3 --score"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    trio(folder)
    (folder / "my_eval.py").write_text(EVALUATION)
    return folder


def line(trials: int = 3) -> list[str]:
    words = LINE.replace("3", str(trials)).split()
    return [*words, f"{sys.executable} -S my_eval.py {{adapter}}"]


def check_whole(place: Path, ended: Ended, trials: int = 3) -> None:
    """The search has all its trials, and its merge is that of its recipe."""
    assert ended.code == 0, ended.output
    record = read_json(place / "out/tune.json")
    assert [trial["state"] for trial in record["trials"]].count("complete") == trials
    assert run(place, "merge", "out/recipe.yaml", "-o", "again").code == 0
    again, merged = tree(place / "again"), tree(place / "out/merged")
    assert again["adapter_model.safetensors"] == merged["adapter_model.safetensors"]
    shutil.rmtree(place / "again")


def late(changes: Sequence[str]) -> list[tuple[int, str]]:
    """Moments when trials are over: around the record, the merge and the recipe."""
    begin = max(n for n, change in enumerate(changes) if change.startswith("os.mkdir tmp"))
    renames = [n for n in range(begin, len(changes)) if changes[n].startswith("os.rename")]
    return [(n + 1, "SIGKILL") for n in renames]


def early(changes: Sequence[str]) -> list[tuple[int, str]]:
    """Moments before the first trial is over."""
    return [(n, "SIGKILL") for n in (2, 3, 6, 12)]


@pytest.mark.slow  # each run of a search starts three programs
@pytest.mark.parametrize("moments", [few_moments, early, late])
def test_stopped(place: Path, moments: Callable[[Sequence[str]], list[tuple[int, str]]]) -> None:
    count = run(place, *line())
    check_whole(place, count)
    before = {path: text for path, text in tree(place).items() if not path.startswith("out")}
    for at, name in moments(count.changes):
        shutil.rmtree(place / "out")
        ended = run(place, *line(), at=at, number=getattr(signal, name))
        assert ended.code == CODES[name], (count.changes, at, ended.output)
        assert "Traceback" not in ended.output
        check_whole(place, run(place, *line()))
        assert {p: t for p, t in tree(place).items() if not p.startswith("out")} == before


def test_a_start_that_was_killed_is_scored_later(place: Path) -> None:
    """It was looked for among the scores, which ended in a KeyError at every later run."""
    run(place, *line(), at=12, number=signal.SIGKILL)
    ended = run(place, *line())
    assert "start       not scored; the same command with more --trials does that" in ended.output
    assert json.loads((place / "out/tune.json").read_text())["start"] is None
    check_whole(place, run(place, *line(6)), 6)
    assert json.loads((place / "out/tune.json").read_text())["start"] is not None


def test_two_at_once(place: Path, tmp_path: Path) -> None:
    """The second took the trial that ran for one that was killed, and ended the first's search."""
    both = [start(place, *line(), log=tmp_path / str(n)) for n in range(2)]
    ends = sorted((each.ended() for each in both), key=lambda ended: ended.code)
    assert [ended.code for ended in ends] in ([0, 0], [0, 1])
    if ends[1].code:
        assert "another run is writing to the folder" in ends[1].output
    check_whole(place, ends[0])
