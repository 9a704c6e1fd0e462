"""Every command of the benchmark that writes, stopped or killed, and two of it at once.

Most of them go on where they were, which the tests named here are about.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
from pathlib import Path

import pytest

from bench_factories.short_training import brief
from bench_factories.untrained_world import make_root
from faults.moments import CODES, few_moments, leaves, run, start
from faults.refuse import tree
from robustmerge.cli.app import app
from robustmerge.errors import MergeError
from robustmerge.files import alone_in, is_leftover
from robustmerge_bench.midi.training.stages import StageInput, run_stage
from robustmerge_bench.mini.training import train as training
from robustmerge_bench.mini.training.sizes import SIZES
from robustmerge_bench.paper.training.checkpoints import prepare

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

TESTED = {
    "run": "cli/test_answer_command.py::test_killed_and_started_again",
    "train": "paper/training/test_resumed.py::test_killed_it_goes_on_to_the_same_adapter",
    "train-clip": "paper/clip/test_train.py::test_a_stopped_training_goes_on_to_the_same_adapter",
    "study": "paper/study/test_run_interrupted.py::test_a_run_that_is_killed_goes_on_where_it_was",
    "mini train": "mini/test_training.py"
    "::test_a_run_that_was_stopped_ends_where_an_unbroken_one_does",
    "mini run": "mini/test_runs.py::test_a_killed_run_goes_on",
    "mini pack": "cli/test_every_verb_stopped.py::test_packing_is_stopped",
    "midi fetch": "midi/test_fetch.py::test_an_unpacking_that_was_stopped_is_done_again",
    "midi train": "midi/test_language.py::test_an_interrupted_training_ends_with_the_same_weights",
    "midi run": "mini/test_runs.py::test_a_killed_run_goes_on",
    "midi pack": "cli/test_every_verb_stopped.py::test_packing_is_stopped",
    "midi unpack": "midi/test_artifact.py::test_an_unpacking_that_was_stopped_is_done_again",
}
"""The test of every command that writes. `midi run` and `pack` share their writing with mini's."""
READERS = {
    *("score", "table", "lmms-tasks", "mini table", "mini gates"),
    *("midi table", "midi gates", "midi geometry"),
}


def test_every_command_is_here() -> None:
    bench = {name.removeprefix("bench ") for name in leaves(app) if name.startswith("bench ")}
    assert bench == {*TESTED, *READERS}
    root = Path(__file__).parents[1]
    for file, _, test in (each.partition("::") for each in TESTED.values()):
        functions = ast.walk(ast.parse((root / file).read_text()))
        assert test in {f.name for f in functions if isinstance(f, ast.FunctionDef)}, (file, test)


@pytest.mark.slow  # every run imports transformers
def test_packing_is_stopped(tmp_path: Path) -> None:
    make_root(tmp_path / "root")
    line = ["bench", "mini", "pack", "--root", "../root", "-o", "out"]
    before, place = tree(tmp_path / "root"), tmp_path / "place"
    place.mkdir()
    count = run(place, *line)
    assert count.code == 0, count.output
    whole = tree(place / "out")
    for force in ([], ["--force"]):
        for at, name in few_moments(count.changes):
            if not force:
                shutil.rmtree(place / "out", ignore_errors=True)
            ended = run(place, *line, *force, at=at, number=getattr(signal, name))
            assert ended.code in (CODES[name], 0), ended.output  # with --force more is changed
            assert "Traceback" not in ended.output
            assert not (place / "out").exists() or tree(place / "out") == whole
            assert {path.name for path in place.iterdir() if not is_leftover(path)} <= {"out"}
    assert run(place, *line, "--force").code == 0
    assert tree(place / "out") == whole
    assert tree(tmp_path / "root") == before


def test_two_packings_at_once(tmp_path: Path) -> None:
    make_root(tmp_path / "root")
    (tmp_path / "place").mkdir()
    line = ["bench", "mini", "pack", "--root", "../root", "-o", "out"]
    both = [start(tmp_path / "place", *line, log=tmp_path / str(n)) for n in range(2)]
    ends = [each.ended() for each in both]
    assert 0 in [ended.code for ended in ends]
    for ended in ends:
        assert ended.code == 0 or "output" in ended.output
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["out"]


def test_one_training_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would write the same states, which no later run could tell."""
    monkeypatch.setitem(SIZES, "nano", brief())
    with alone_in(tmp_path):
        with pytest.raises(MergeError, match="another run is writing to the folder"):
            training.train(tmp_path, size="nano", workers=1)
        with pytest.raises(MergeError, match="another run is writing to the folder"):
            run_stage("projector", StageInput(tmp_path, tmp_path / "sources"))
    assert [path.name for path in tmp_path.iterdir()] == ["stages"]


def test_a_training_killed_before_its_settings_were_there(tmp_path: Path) -> None:
    """The hidden file that was left was taken for someone else's."""
    (tmp_path / ".settings.json.partial-0a1b2c3d").write_text("{")
    assert prepare(tmp_path, {"a": 1}, restart=False) is None
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]
