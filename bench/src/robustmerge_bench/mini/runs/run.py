"""Doing jobs: what is done is skipped, the rest goes to worker processes of one thread each.

A worker writes its results itself, so that nothing but the jobs in hand is lost when all of it is
killed, and the same command goes on from there.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import NoReturn

import torch

from robustmerge.errors import MergeError, few
from robustmerge.threads import one_thread_each

from .examine import Examiner
from .job import Job
from .results import is_done
from .setting import Setting

_PATIENCE = 10  # seconds for a worker to end by itself


@dataclass(frozen=True)
class Step:
    """How far a run is.

    Attributes:
        done: Jobs finished in this run.
        todo: Jobs there were to do.
        label: The one that has just been finished.
        seconds: How long it took.
        left: Estimate for the rest.
        failure: Why it failed, '' where it did not.
    """

    done: int
    todo: int
    label: str
    seconds: float
    left: float
    failure: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        done: Jobs finished in this run.
        skipped: Jobs whose results were there.
        failures: Why jobs failed, by label.
    """

    done: int
    skipped: int
    failures: tuple[tuple[str, str], ...]


def silent(step: Step) -> None:
    """Show no progress."""


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    setting: Setting,
    *,
    workers: int = 1,
    progress: Callable[[Step], None] = silent,
) -> Outcome:
    """Do what is not done yet. A job that fails does not keep the others from being done.

    Args:
        jobs: What there is to do; one base for all.
        out: Folder of the results.
        setting: Tasks and model; with several workers its functions must be found by name.
        workers: Processes; with one, the work is done in this process.
        progress: Called after every job.

    Raises:
        MergeError: A worker died, or a result cannot be written.
    """
    if workers < 1:
        raise MergeError(f"{workers} jobs at once cannot work", where="--jobs", hint="--jobs 1")
    todo = [job for job in jobs if not is_done(job, out)]
    if not todo:
        return Outcome(0, len(jobs), ())
    workers = min(workers, len(todo))
    ended = (
        _here(todo, out, setting) if workers == 1 else _in_processes(todo, out, setting, workers)
    )
    start = perf_counter()
    failures = []
    for done, (job, seconds, failure) in enumerate(ended, 1):
        if failure:
            failures.append((job.label, failure))
        left = (perf_counter() - start) / done * (len(todo) - done)
        progress(Step(done, len(todo), job.label, seconds, left, failure))
    return Outcome(len(todo) - len(failures), len(jobs) - len(todo), tuple(failures))


Ended = Iterator[tuple[Job, float, str]]
"""Jobs as they end, with seconds and the failure or ''."""


def _here(todo: Sequence[Job], out: Path, setting: Setting) -> Ended:
    with one_thread_each():
        examiner = Examiner(setting, todo[0].base)
        for job in todo:
            yield job, *_do(examiner, job, out)


def _in_processes(todo: Sequence[Job], out: Path, setting: Setting, workers: int) -> Ended:
    context = get_context("spawn")  # a forked copy of torch's threads may hang
    waiting = deque(todo)
    hired = []
    busy: dict[Connection, Job] = {}
    try:
        for _ in range(workers):
            near, far = context.Pipe()
            process = context.Process(
                target=_serve, args=(far, setting, todo[0].base, out), daemon=True
            )
            process.start()
            far.close()  # so that the end of the process is the end of the pipe
            hired.append((process, near))
            busy[near] = waiting.popleft()
            near.send(busy[near])
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                job = busy.pop(ready)
                seconds, failure = _answer(ready, job)
                if waiting:
                    busy[ready] = waiting.popleft()
                    ready.send(busy[ready])
                yield job, seconds, failure
        for _, near in hired:
            near.close()  # which tells it that there is no more to do
        for process, _ in hired:
            process.join(_PATIENCE)
    finally:
        for process, near in hired:
            near.close()
            process.terminate()
        for process, _ in hired:
            process.join()


def _answer(pipe: Connection, job: Job) -> tuple[float, str]:
    """What a worker says of its job.

    Raises:
        MergeError: Nothing, because it is no more, or because it cannot work at all.
    """
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionError):
        raise MergeError(
            "a worker died",
            where=job.label,
            hint="what is done is kept; if it left no word, memory ran out: try fewer --jobs",
        ) from None
    if isinstance(answer, MergeError):
        raise answer
    seconds, failure = answer
    return seconds, failure


def _serve(pipe: Connection, setting: Setting, base: Path, out: Path) -> None:
    """Do jobs as they come, until nobody is there to send any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it, and ends this process
    signal.signal(signal.SIGTERM, _leave)
    torch.set_num_threads(1)
    examiner = None
    try:
        while True:
            job = pipe.recv()
            try:
                examiner = examiner or Examiner(setting, base)
                pipe.send(_do(examiner, job, out))
            except MergeError as error:
                pipe.send(error)
    except (EOFError, ConnectionError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to clean up


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave as after an error, so that no merge is left behind in the folder of temporary files."""
    del frame
    sys.exit(128 + signum)


def _do(examiner: Examiner, job: Job, out: Path) -> tuple[float, str]:
    """Examine, and write the result; the time that took, and why it failed or ''.

    Raises:
        MergeError: The result cannot be written.
    """
    start = perf_counter()
    try:
        result = examiner.examine(job)
    except MergeError as error:
        return perf_counter() - start, str(error)
    except (ArithmeticError, RuntimeError, ValueError) as error:  # such as torch's LinAlgError
        return perf_counter() - start, f"{type(error).__name__}: {error}"
    result.write(out / job.file)
    return perf_counter() - start, ""


def failed(outcome: Outcome) -> MergeError:
    """The error for a run in which jobs failed."""
    labels = [label for label, _ in outcome.failures]
    label, why = outcome.failures[0]
    return MergeError(
        f"{len(labels)} of {outcome.done + len(labels)} jobs failed: {few(labels)}",
        where=f"{label}\n{why}",
        hint="all others are done; mend this and run the same command again",
    )
