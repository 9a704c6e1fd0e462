"""Which merges are nearly the same update, up to a factor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import connected_components

import robustmerge

LEAST = 0.95
"""Merges whose updates have at least this cosine are related, and so are those related to them."""


def groups_of(folders: Sequence[Path]) -> list[list[int]]:
    """Return positions of merges in groups of related ones."""
    return groups(cosines(folders))


def cosines(folders: Sequence[Path]) -> np.ndarray:
    """Return cosines of merged updates, the whole model taken as one vector."""
    inner = np.zeros((len(folders), len(folders)))
    adapters = [robustmerge.load(folder) for folder in folders]
    for name in sorted({name for adapter in adapters for name in adapter.modules}):
        factors = [adapter.factors(name) for adapter in adapters]
        for i, own in enumerate(factors):
            for j in range(i + 1):
                # trace of (B A)^T (B' A') from the small products
                value = float(((own.B.T @ factors[j].B) * (own.A @ factors[j].A.T)).sum())
                inner[i, j] += value
                inner[j, i] += value * (i != j)
    for adapter in adapters:
        adapter.close()
    size = np.sqrt(np.diag(inner))
    alike: np.ndarray = inner / np.outer(size, size)
    return alike


def groups(alike: np.ndarray, least: float = LEAST) -> list[list[int]]:
    """Return positions of merges in groups of related ones (single linkage)."""
    count, labels = connected_components(alike >= least, directed=False)
    members: list[list[int]] = [[] for _ in range(count)]
    for position, label in enumerate(labels):
        members[label].append(position)
    return sorted(members)
