"""The merge methods, one file each. A new method is one file here and one name below."""

from __future__ import annotations

from . import (
    average,
    dare,
    dare_ties,
    magnitude_prune,
    pcb,
    robustmerge,
    robustmerge_paper,
    task_arithmetic,
    ties,
)
from ._registry import Method, every, get, method

__all__ = [
    "Method",
    "average",
    "dare",
    "dare_ties",
    "every",
    "get",
    "magnitude_prune",
    "method",
    "pcb",
    "robustmerge",
    "robustmerge_paper",
    "task_arithmetic",
    "ties",
]
