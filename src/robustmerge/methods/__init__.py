"""The merge methods, one file each. A new method is one file here and one name below."""

from __future__ import annotations

from . import average, robustmerge, robustmerge_paper, task_arithmetic
from ._registry import Method, every, get, method

__all__ = [
    "Method",
    "average",
    "every",
    "get",
    "method",
    "robustmerge",
    "robustmerge_paper",
    "task_arithmetic",
]
