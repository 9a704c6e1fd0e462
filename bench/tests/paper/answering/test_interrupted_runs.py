"""Runs that fail, are killed, or meet another run, and go on to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_factories.answer_runs import answer_tasks
from bench_factories.echo_engine import Echo
from bench_factories.question_files import fill
from bench_factories.tiny_models import save
from factories.families import save_adapter
from robustmerge import MergeError
from robustmerge_bench.paper.answering import run as running
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.run import answer
from robustmerge_bench.paper.tasks import TASKS


def test_a_place_that_cannot_be_written_to(root: Path, use_engine: Callable[[Echo], Echo]) -> None:
    use_engine(Echo())
    (root / "out").write_text("a file")
    with pytest.raises(MergeError, match="cannot write") as caught:
        answer_tasks(root)
    assert str(root / "out") in str(caught.value)
    (root / "taken" / "vqav2.jsonl").mkdir(parents=True)
    with pytest.raises(MergeError):
        answer_tasks(root, out="taken")


def test_a_disk_that_is_full(
    root: Path, use_engine: Callable[[Echo], Echo], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(Echo())
    (whole,) = answer_tasks(root, out="whole")
    real, left = Path.open, [2]

    def scarce(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == "vqav2.jsonl" and how == ("a",):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
        return real(path, *how, **more)

    monkeypatch.setattr(Path, "open", scarce)
    with pytest.raises(MergeError, match="No space left"):
        answer_tasks(root)
    monkeypatch.undo()
    use_engine(Echo())
    monkeypatch.setattr(running, "open_engine", lambda *_: Echo())
    (file,) = answer_tasks(root)
    assert file.read_bytes() == whole.read_bytes()


def test_two_runs_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: Any) -> Any:
        with pytest.raises(MergeError, match="another run is writing"):
            answer_tasks(root)
        return Echo()

    monkeypatch.setattr(running, "open_engine", again)
    assert len(answer_tasks(root)) == 1


CHILD = """
import sys, time
from pathlib import Path
from bench_factories.echo_engine import Echo
from robustmerge_bench.paper.answering import run
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.tasks import select_tasks

place, engine = Path(sys.argv[1]), Echo()
real = engine.answer

def slowly(questions):
    if len(engine.windows) == 2:
        (place / "reached").touch()
        time.sleep(60)
    return real(questions)

engine.answer = slowly
run.open_engine = lambda *_: engine
run.answer(
    str(place / "base"), str(place / "one"), select_tasks("vqav2"), place / "data", place / "out",
    options=AnsweringOptions(batch=2, max_new_tokens=3),
)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_killed_and_started_again(root: Path, use_engine: Callable[[Echo], Echo]) -> None:
    use_engine(Echo())
    (whole,) = answer_tasks(root, out="whole")
    paths = os.pathsep.join(sys.path)
    arguments = [sys.executable, "-c", CHILD, str(root)]
    with subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": paths}) as process:
        for _ in range(1200):
            if (root / "reached").exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    file = root / "out" / "vqav2.jsonl"
    assert file.read_bytes() == b"".join(whole.read_bytes().splitlines(keepends=True)[:8])
    with file.open("ab") as half:
        half.write(whole.read_bytes()[len(file.read_bytes()) :][:37])
    engine = use_engine(Echo())
    answer_tasks(root)
    assert file.read_bytes() == whole.read_bytes()
    assert engine.windows == [["108", "109", "110"]]


def test_the_real_engine_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "data", ("vqav2",), n=7)
    base, adapter = save("llava", tmp_path / "llava"), save_adapter("llava", tmp_path / "a", seed=5)

    def start(out: str) -> Path:
        options = AnsweringOptions(batch=1, max_new_tokens=4)
        tasks = [TASKS["vqav2"]]
        (file,) = answer(
            str(base), str(adapter), tasks, tmp_path / "data", tmp_path / out, options=options
        )
        return file

    wanted = start("whole").read_bytes()
    for cut in (500, 1500):
        file = tmp_path / f"cut{cut}" / "vqav2.jsonl"
        file.parent.mkdir()
        (file.parent / "run.json").write_bytes((tmp_path / "whole/run.json").read_bytes())
        file.write_bytes(wanted[:cut])
        assert start(file.parent.name).read_bytes() == wanted
    record = json.loads((tmp_path / "whole/run.json").read_text())
    assert record["facts"]["versions"].keys() == {"torch", "transformers", "peft"}
