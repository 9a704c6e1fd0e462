"""Which example is seen when."""

from __future__ import annotations

import math
from collections.abc import Sequence


def taken(counts: Sequence[int], limit: int | None) -> int:
    """How many examples an epoch has.

    Args:
        counts: How many each task has.
        limit: How many are taken of each; None for all.
    """
    return sum(min(count, limit or count) for count in counts)


def order(counts: Sequence[int], limit: int | None, *, seen: int, seed: int) -> list[int]:
    """Rows of all tasks' examples, one after the other: epoch after epoch.

    The order is one for all devices together, and depends on nothing but the seed.

    Args:
        counts: How many each task has.
        limit: How many are taken of each, drawn by the seed; None for all.
        seen: How many are seen in all; the last epoch may be cut short.
        seed: Of the draws and the order.
    """
    import numpy as np  # not by the command line's help, which reads a recipe's options

    if not seen:
        return []
    starts = np.cumsum([0, *counts[:-1]])
    draws = [np.random.default_rng([seed, 1, task]) for task in range(len(counts))]
    chosen = np.concatenate(
        [
            start + draw.permutation(count)[:limit]
            for start, draw, count in zip(starts, draws, counts, strict=True)
        ]
    )
    epochs = [
        np.random.default_rng([seed, 2, epoch]).permutation(chosen)
        for epoch in range(math.ceil(seen / len(chosen)))
    ]
    return [int(row) for row in np.concatenate(epochs)[:seen]]
