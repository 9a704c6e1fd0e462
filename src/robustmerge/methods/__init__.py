"""The merge methods, one file each, in families. A new method is one file and one name there."""

from __future__ import annotations

from . import entrywise, regression, robustmerge, robustmerge_paper, spectral, sums
from ._registry import Method, When, every, get, method

__all__ = [
    "Method",
    "When",
    "entrywise",
    "every",
    "get",
    "method",
    "regression",
    "robustmerge",
    "robustmerge_paper",
    "spectral",
    "sums",
]
