"""Work side by side in threads, with results in order and few of them waiting."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from .errors import MergeError, enough_memory, first_line

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


def silent(done: int, total: int) -> None:
    """Show no progress."""


def run_side_by_side(
    work: Callable[[T], R], items: Sequence[T], workers: int, progress: Progress
) -> Iterator[R]:
    """Yield results in the order of the items, each computed by a thread of its own."""
    _keep_freed_memory()
    with limit_threads(), ThreadPoolExecutor(workers, initializer=_single) as pool:
        for done, result in enumerate(_ordered(pool, _guarded(work), items, 2 * workers), 1):
            progress(done, len(items))
            yield result


def _guarded(work: Callable[[T], R]) -> Callable[[T], R]:
    """Return the same work, in which what libraries say of memory and numbers names the item."""

    def guarded(item: T) -> R:
        name = str(getattr(item, "name", item))
        with enough_memory(name):
            try:
                return work(item)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                raise MergeError(
                    f"the numbers cannot be decomposed: {first_line(error)}",
                    where=name,
                    hint="the factors or statistics of this module are out of range, or not of "
                    "this module; leave the module out, or use another checkpoint",
                ) from None

    return guarded


def _ordered(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Sequence[T], ahead: int
) -> Iterator[R]:
    """Yield results in order, computed at most `ahead` items in advance."""
    waiting: deque[Future[R]] = deque()
    upcoming = iter(items)
    try:
        for item in upcoming:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def limit_threads() -> Iterator[None]:
    """Turn torch's own threads off: sums do not depend on their number, and QR is faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next module, rather than hand it back.

    glibc keeps up to twice the largest block freed so far, and 32 MB is the most it counts. Memory
    handed back and claimed again, page by page, costs a tenth of a merge.
    """
    torch.empty(31 << 20, dtype=torch.uint8)  # 31 MiB, just below the 32 that count


def hand_back_freed_memory() -> None:
    """Have the C library return freed memory to the system, where it is one that can.

    glibc keeps what a thread frees for this thread. After a pass in the main thread, the workers of
    the next one would need as much again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _single() -> None:
    torch.set_num_threads(1)


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        MergeError: no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise MergeError(f"no device {name!r}", where="--device", hint="cpu, cuda or cuda:0")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise MergeError(
            f"no device {name!r} here", where=f"--device {name}", hint="--device cpu, or another"
        )
    return device
