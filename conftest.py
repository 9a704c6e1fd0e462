"""Settings of all tests: Hypothesis, threads, and which warnings fail a test.

A warning fails a test if this repository caused it: if the line that the warning blames, or the
first line above that is not plumbing of a library, is ours. What libraries do to one another does
not: a release of theirs must not turn our tests red.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).parent
OURS = tuple(str(ROOT / part) for part in ("src", "bench", "tests", "benchmarks"))
PLUMBING = ("/torch/nn/modules/module.py", "/torch/utils/_contextlib.py", "/contextlib.py")
"""Files whose functions only pass a call on: the caller above them is the one to blame."""

# The first call into torch is slow, and a shared machine is slow at times.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_protocol() -> Generator[None, Any, Any]:
    """Raise the warnings that our own calls cause, in fixtures as well."""
    record = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        *more: Any,
    ) -> None:
        if is_ours(sys._getframe(1), filename, lineno):
            raise message if isinstance(message, Warning) else category(message)
        record(message, category, filename, lineno, *more)

    warnings.showwarning = show
    return (yield)


def is_ours(frame: FrameType | None, filename: str, lineno: int) -> bool:
    """Return whether code of this repository is to blame for a warning.

    Args:
        frame: Where the warning is shown.
        filename: File of the line that the warning blames.
        lineno: Number of that line.
    """
    while frame and (frame.f_code.co_filename, frame.f_lineno) != (filename, lineno):
        frame = frame.f_back
    while frame and frame.f_code.co_filename.endswith(PLUMBING):
        frame = frame.f_back
    return (frame.f_code.co_filename if frame else filename).startswith(OURS)
