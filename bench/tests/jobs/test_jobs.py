"""Jobs in one process and in several: failures are kept, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.jobs.hashes import hash_of
from robustmerge_bench.jobs.run import JobProgress, Worker, run_jobs


@dataclass(frozen=True)
class Copy:
    """Writes its label into a file."""

    label: str


def is_done(job: Copy, out: Path) -> bool:
    return (out / job.label).exists()


def start(out: Path) -> Worker[Copy]:
    return partial(write, out)


def write(out: Path, job: Copy) -> Mapping[str, str]:
    if job.label.startswith("bad"):
        return {"first": "a reason", "second": "another reason"}
    if job.label.startswith("bug"):
        raise KeyError(job.label)
    (out / job.label).write_text(str(os.getpid()))
    return {}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_missing_is_done_and_failures_are_kept(tmp_path: Path, workers: int) -> None:
    jobs = [Copy(label) for label in ("a", "b", "bad", "c")]
    (tmp_path / "b").touch()
    steps: list[JobProgress] = []
    outcome = run_jobs(
        jobs,
        partial(is_done, out=tmp_path),
        partial(start, tmp_path),
        workers=workers,
        progress=steps.append,
    )
    assert (outcome.done, outcome.skipped) == (2, 1)
    assert [(f.job.label, f.part, f.reason) for f in outcome.failures] == [
        ("bad", "first", "a reason"),
        ("bad", "second", "another reason"),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
    assert {step.label: step.failure for step in steps} == {"a": "", "bad": "a reason", "c": ""}
    assert [(step.done, step.todo) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    assert outcome.error.problem == "1 of 3 jobs failed: bad"
    assert outcome.error.where == "bad first\na reason"
    here = {(tmp_path / name).read_text() for name in "ac"} == {str(os.getpid())}
    assert here == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_not_a_failure_of_one_job(tmp_path: Path, workers: int) -> None:
    jobs = [Copy("bug"), Copy("bug too")]
    with pytest.raises(KeyError):
        run_jobs(jobs, partial(is_done, out=tmp_path), partial(start, tmp_path), workers=workers)


def test_nothing_is_started_for_nothing(tmp_path: Path) -> None:
    def never() -> Worker[Copy]:
        raise AssertionError

    jobs = [Copy("a")]
    (tmp_path / "a").touch()
    outcome = run_jobs(jobs, partial(is_done, out=tmp_path), never, workers=2)
    assert (outcome.done, outcome.skipped) == (0, 1)
    with pytest.raises(MergeError, match="0 jobs at once"):
        run_jobs(jobs, partial(is_done, out=tmp_path), never, workers=0)


SLOW = """
import os, signal, sys, time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from robustmerge_bench.jobs.run import run_jobs

class Job:
    label = "slow"

def work(out, job):
    with TemporaryDirectory(dir=out, prefix="temporary-"):
        (out / f"{os.getpid()}.pid").touch()
        time.sleep(60)

def start(out):
    return partial(work, out)

if __name__ == "__main__":
    # A shell starts jobs in the background with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = Path(sys.argv[1])
    run_jobs([Job(), Job()], lambda job: False, partial(start, out), workers=2)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_run_and_leave_nothing(tmp_path: Path, how: signal.Signals) -> None:
    script, out = tmp_path / "slow.py", tmp_path / "out"
    script.write_text(SLOW)
    out.mkdir()
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen([sys.executable, str(script), str(out)], env=path, stderr=-3)
    wait_until(lambda: len(list(out.glob("*.pid"))) == 2)
    run.send_signal(how)
    assert run.wait(60) != 0
    pids = [int(file.stem) for file in out.glob("*.pid")]
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert not list(out.glob("temporary-*"))


def wait_until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_hashes_of_data_do_not_depend_on_the_order_of_keys() -> None:
    assert hash_of({"a": 1, "b": ["ü"]}) == hash_of({"b": ["ü"], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})
    assert hash_of({"b": None, "a": "x"})[:12] == "dcbd55454897"  # names of results are made of it
