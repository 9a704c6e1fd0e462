"""Runs that die, are killed or are done on other machines leave what an undisturbed run leaves."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench_factories import studies
from bench_factories.studies import ScriptedTools, contents, plan, run_again, run_study
from robustmerge_bench.jobs.run import JobProgress
from robustmerge_bench.paper.study.record import StudyRecord
from robustmerge_bench.paper.study.run import run


def test_a_run_that_dies_goes_on_where_it_was(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    with pytest.raises(KeyboardInterrupt):
        run_study(file, ScriptedTools(die_after=31))
    calls = run_again(file)
    # 20 of the first task and 11 of the second were there.
    assert calls[:3] == [
        "answer zero-shot vqav2 0",
        "answer zero-shot rec 9",
        "answer zero-shot tabmwp 20",
    ]
    whole = tmp_path / "whole"
    whole.mkdir()
    other = studies.write(whole / "study.yaml")
    run_again(other)
    assert contents(tmp_path / "out") == contents(whole / "out")


SLOWLY = """
import sys, time
from pathlib import Path
from bench_factories import studies
from robustmerge_bench.paper.study.file import Study
from robustmerge_bench.paper.study.models import StudyModel
from robustmerge_bench.paper.study.plan import make_plan
from robustmerge_bench.paper.study.run import run

class Slow(studies.ScriptedTools):
    def answer(self, base, adapter, tasks, data, out, name):
        for task in tasks:
            super().answer(base, adapter, [task], data, out, name)
            print(name, task.name, flush=True)
            time.sleep(0.05)

file = Path(sys.argv[1])
run(make_plan(Study.load(file), file.parent / "out", Slow()))
"""


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    path = os.pathsep.join([str(Path(studies.__file__).parents[1]), *sys.path])
    slow = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with slow:
        assert slow.stdout is not None
        for line in slow.stdout:
            if line.startswith("task-arithmetic rec"):
                slow.send_signal(signal.SIGKILL)
                break
    calls = run_again(file)
    assert not [call for call in calls if "zero-shot" in call or "individual" in call]
    assert "merge task-arithmetic" not in calls
    assert "answer task-arithmetic rec 0" in calls
    assert "answer task-arithmetic tabmwp 20" in calls or "answer task-arithmetic tabmwp 0" in calls
    assert run_again(file) == []


def elsewhere(jobs: Any, start: Any) -> Any:
    """Run jobs as another machine does: all that it gets went through pickle."""
    worker = pickle.loads(pickle.dumps(start))()
    for job in jobs:
        yield job, worker(pickle.loads(pickle.dumps(job)))


def test_elsewhere_it_leaves_the_same_files(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    run_again(studies.write(here / "study.yaml"))
    file = studies.write(tmp_path / "study.yaml")
    steps: list[JobProgress] = []
    outcome = run(plan(file, ScriptedTools()), report=steps.append, engine=elsewhere)
    assert (outcome.done, outcome.failures) == (5, ())
    assert len(steps) == 5
    assert contents(tmp_path / "out") == contents(here / "out")
    again = run(plan(file, ScriptedTools()), engine=elsewhere)
    assert (again.done, again.skipped) == (0, 5)


def test_elsewhere_failures_are_recorded_and_shared_models_done_once(tmp_path: Path) -> None:
    methods = ["ties", {"label": "again", "method": "ties"}]
    file = studies.write(tmp_path / "study.yaml", methods=methods)
    outcome = run(plan(file, ScriptedTools(fail={"rec"})), engine=elsewhere)
    assert [(f.job.contender.label, f.part) for f in outcome.failures] == [
        ("ties", "rec"),
        ("again", "rec"),
    ]
    record = StudyRecord.read(tmp_path / "out")
    assert record.failures.keys() == {"ties", "again"}
    assert {task for why in record.failures.values() for task in why} == {"rec"}
