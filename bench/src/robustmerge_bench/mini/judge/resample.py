"""Bootstrap of task averages: items are drawn within every task, and seeds where there are several.

Where `bench.stats` gives the interval of one mean, this keeps the draws of every task, so that any
figure can be made of them: the worst task, or a ratio of what a merge and the experts gained. One
draw serves all models of a table: the same items, and the same seeds, stand on both sides of a
fraction. Intervals over a few seeds are too narrow, as said there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...stats import DRAWS, times_taken

Scores = Mapping[str, np.ndarray]
"""Per task the scores [seeds, items]; one row where there are no seeds."""


@dataclass(frozen=True)
class Means:
    """Task averages of one model.

    Attributes:
        tasks: Names of the tasks.
        value: The averages [tasks].
        draws: The same over resampled items and seeds [draws, tasks].
    """

    tasks: tuple[str, ...]
    value: np.ndarray
    draws: np.ndarray

    def over(self, tasks: Sequence[str]) -> Means:
        """Some of the tasks, in this order."""
        places = [self.tasks.index(task) for task in tasks]
        return Means(tuple(tasks), self.value[places], self.draws[:, places])


class Resamples:
    """One draw of items and seeds, for any number of models."""

    def __init__(
        self, items: Mapping[str, int], seeds: int, *, draws: int = DRAWS, seed: int = 0
    ) -> None:
        """Draw.

        Args:
            items: Number of items of every task.
            seeds: Number of seeds of models that have some.
            draws: How often to draw.
            seed: Of the drawing.
        """
        generator = np.random.default_rng(seed)
        self._items = {task: _shares(generator, n, draws) for task, n in items.items()}
        self._seeds = _shares(generator, seeds, draws)

    def means(self, scores: Scores) -> Means:
        """Task averages of a model, and how they spread."""
        value = np.array([per_task.mean() for per_task in scores.values()])
        drawn = [self._drawn(task, per_task) for task, per_task in scores.items()]
        return Means(tuple(scores), value, np.stack(drawn, axis=1))

    def _drawn(self, task: str, scores: np.ndarray) -> np.ndarray:
        """Averages [draws] of one task's scores [seeds, items]."""
        by_seed = self._items[task] @ scores.T.astype(np.float32)  # [draws, seeds]
        weights = self._seeds if len(scores) > 1 else np.ones((1, 1))
        drawn: np.ndarray = (by_seed * weights).sum(axis=1, dtype=np.float64)
        return drawn


def _shares(generator: np.random.Generator, n: int, draws: int) -> np.ndarray:
    """How much each of n things weighs in each of the draws with replacement [draws, n]."""
    if n == 1:
        return np.ones((draws, 1), np.float32)
    return (times_taken(generator, draws, n) / n).astype(np.float32)
