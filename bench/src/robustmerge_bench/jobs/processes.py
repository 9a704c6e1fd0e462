"""Worker processes of one thread each, which end together with the process that started them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from types import FrameType
from typing import Any, NoReturn, TypeVar

import torch

from robustmerge.errors import MergeError, few

J = TypeVar("J")
R = TypeVar("R")

_workers: list[Callable[[Any], Any]] = []
"""In a worker process its worker, once that has been started."""


def in_processes(
    jobs: Sequence[J], start: Callable[[], Callable[[J], R]], workers: int
) -> Iterator[tuple[J, R]]:
    """Yield jobs with their results as they end; an error of a worker, or its death, ends all.

    `start` prepares a worker; it is called once in each process, with the first job.
    """
    others = set(active_children())
    context = get_context("spawn")  # a forked copy of torch's threads may hang
    pool = ProcessPoolExecutor(workers, context, _begin)
    try:
        waiting = {pool.submit(_work, start, job): job for job in jobs}
        for future in as_completed(list(waiting)):
            result = future.result()
            yield waiting.pop(future), result
    except BrokenProcessPool:
        # Jobs are taken in order, so that the first ones without a result are those in progress.
        labels = [str(getattr(job, "label", job)) for job in list(waiting.values())[:workers]]
        raise MergeError(
            "a worker died",
            where="in one of these jobs: " + few(labels, workers),
            hint="finished jobs are kept; without another message, memory ran out: try fewer "
            "--jobs",
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        started = set(active_children()) - others
        for process in started:
            process.terminate()
        for process in started:
            process.join()


def _work(start: Callable[[], Callable[[J], R]], job: J) -> R:
    try:
        if not _workers:
            _workers.append(start())
        result: R = _workers[0](job)
    except SystemExit:  # by `_exit`; the pool would take it for a result
        os._exit(1)
    return result


def _begin() -> None:
    """Prepare a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it as well, and ends this one
    signal.signal(signal.SIGTERM, _exit)
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _exit(signum: int, frame: FrameType | None) -> NoReturn:
    """Exit as after an error, so that temporary folders are removed."""
    del frame
    sys.exit(128 + signum)


def _end_with_parent() -> None:
    """End this process when the one that started it was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
