"""Which merges are nearly the same update, up to a factor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import robustmerge

KIN = 0.95
"""Merges whose updates have at least this cosine are kin, and so are the kin of kin."""


def cosines(folders: Sequence[Path]) -> np.ndarray:
    """Cosines of merged updates, the whole model taken as one vector."""
    inner = np.zeros((len(folders), len(folders)))
    adapters = [robustmerge.load(folder) for folder in folders]
    for name in sorted({name for adapter in adapters for name in adapter.modules}):
        factors = [adapter.factors(name) for adapter in adapters]
        for i, one in enumerate(factors):
            for j in range(i + 1):
                # trace of (B A)^T (B' A') from the small products
                value = float(((one.B.T @ factors[j].B) * (one.A @ factors[j].A.T)).sum())
                inner[i, j] += value
                inner[j, i] += value * (i != j)
    for adapter in adapters:
        adapter.close()
    size = np.sqrt(np.diag(inner))
    found: np.ndarray = inner / np.outer(size, size)
    return found


def groups(alike: np.ndarray, least: float = KIN) -> list[list[int]]:
    """Places of merges in groups of kin (single linkage)."""
    found: list[list[int]] = []
    left = set(range(len(alike)))
    while left:
        group, fresh = set[int](), {min(left)}
        while fresh:
            group |= fresh
            fresh = {j for i in fresh for j in left if alike[i, j] >= least} - group
        left -= group
        found.append(sorted(group))
    return found
