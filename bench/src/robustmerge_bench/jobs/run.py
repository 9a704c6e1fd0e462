"""Run jobs: skip those that are done, go on after failures, and report both."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from robustmerge.errors import MergeError, few

from .processes import in_processes

FAILURES = (MergeError, ArithmeticError, RuntimeError, ValueError, OSError)
"""Errors that fail one job and no other, such as torch's out of memory; the rest are bugs."""


@runtime_checkable
class Job(Protocol):
    """One result to compute."""

    @property
    def label(self) -> str:
        """A readable name."""
        ...


J = TypeVar("J", bound=Job)
Worker = Callable[[J], Mapping[str, str]]
"""Computes and writes a result; returns why parts of the job failed ('' is the whole of it)."""
Timed = tuple[float, Mapping[str, str]]
"""Seconds, and what a worker returned."""

# Recipes and tasks have read-only tables, which pickle refuses, and travel to other machines.
copyreg.pickle(MappingProxyType, lambda table: (_read_only, (dict(table),)))


def _read_only(table: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(table)


@runtime_checkable
class JobEngine(Protocol):
    """Runs jobs elsewhere than in this process and its children."""

    def __call__(
        self, jobs: Sequence[Any], start: Callable[[], Callable[[Any], Timed]], /
    ) -> Iterator[tuple[Any, Timed]]:
        """Yield jobs as they end."""
        ...


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """A job, or a part of one, that has just ended.

    Attributes:
        what: The part, such as "merged"; '' for the whole job.
        failure: Why it failed; '' if it did not.
        done: Jobs that ended in this run.
        todo: Jobs to do in this run.
        left: Estimated seconds for the rest.
    """

    label: str
    what: str = ""
    seconds: float
    failure: str = ""
    done: int = 0
    todo: int = 0
    left: float = 0


@dataclass(frozen=True)
class JobFailure(Generic[J]):
    """Why a job, or a part of it such as a task, failed; the part is '' for all of it."""

    job: J
    part: str
    reason: str


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """The end of a run: how many jobs were done and how many had results already."""

    done: int
    skipped: int
    failures: tuple[JobFailure[J], ...]

    @property
    def error(self) -> MergeError:
        """The error for a run in which jobs failed."""
        labels = list(dict.fromkeys(failure.job.label for failure in self.failures))
        first = self.failures[0]
        return MergeError(
            f"{len(labels)} of {self.done + len(labels)} jobs failed: {few(labels)}",
            where=f"{first.job.label} {first.part}".strip() + f"\n{first.reason}",
            hint="all others are done; fix this and run the same command again",
        )


def silent(progress: JobProgress) -> None:
    """Show no progress."""


def run_jobs(
    jobs: Sequence[J],
    is_done: Callable[[J], bool],
    start: Callable[[], Worker[J]],
    *,
    workers: int = 1,
    engine: JobEngine | None = None,
    progress: Callable[[JobProgress], None] = silent,
) -> Outcome[J]:
    """Run the jobs that are not done. One that fails does not stop the others.

    `start` prepares a worker, once in each process; with several `workers` it must be picklable,
    with one the work is done in this process. A worker process that dies, or an error outside of a
    job's work, such as a result that cannot be written, ends the run. With an `engine`, jobs run by
    it, and the number of `workers` is its own matter.

    Raises:
        MergeError: no worker at all, a worker died, or a result of another machine is not here.
    """
    if workers < 1:
        raise MergeError(f"{workers} jobs at once cannot work", where="--jobs", hint="--jobs 1")
    todo = [job for job in jobs if not is_done(job)]
    failures: list[JobFailure[J]] = []
    failed, begin = 0, perf_counter()
    for done, (job, (seconds, reasons)) in enumerate(_ended(todo, start, workers, engine), 1):
        if engine is not None and not reasons and not is_done(job):
            raise _not_here(job.label)
        failures += [JobFailure(job, part, reason) for part, reason in reasons.items()]
        failed += bool(reasons)
        left = (perf_counter() - begin) / done * (len(todo) - done)
        why = next(iter(reasons.values()), "")
        ended = JobProgress(
            label=job.label, seconds=seconds, failure=why, done=done, todo=len(todo), left=left
        )
        progress(ended)
    return Outcome(len(todo) - failed, len(jobs) - len(todo), tuple(failures))


def _ended(
    todo: Sequence[J], start: Callable[[], Worker[J]], workers: int, engine: JobEngine | None
) -> Iterator[tuple[J, Timed]]:
    """Yield jobs as they end, with seconds and reasons of failure."""
    workers = min(workers, len(todo))
    if engine is not None:
        if todo:
            yield from engine(todo, partial(_timed, start))
    elif workers > 1:
        yield from in_processes(todo, partial(_timed, start), workers)
    elif todo:
        worker = _timed(start)
        for job in todo:
            yield job, worker(job)


def _not_here(label: str) -> MergeError:
    return MergeError(
        "a job is done, and its result is not here",
        where=label,
        hint="the folder of results has to be one that all machines share",
    )


def _timed(start: Callable[[], Worker[J]]) -> Callable[[J], Timed]:
    return partial(_time, start())


def _time(worker: Worker[J], job: J) -> Timed:
    begin = perf_counter()
    reasons = worker(job)
    return perf_counter() - begin, reasons


def reason(error: BaseException) -> str:
    """Return the message of a failure, with its type where that is not our own."""
    return str(error) if isinstance(error, MergeError) else f"{type(error).__name__}: {error}"
