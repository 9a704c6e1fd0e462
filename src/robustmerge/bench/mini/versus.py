"""Who beats whom: all pairs of models on the same items, corrected for how many pairs there are.

The p-value of a pair is that of a normal variable: the difference of two averages over the standard
deviation of its bootstrap draws. Averages over thousands of items are as good as normal, and after
Holm's correction for hundreds of pairs only p-values matter that are smaller than draws can count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..stats import holm
from .resample import Figure, Means

ALPHA = 0.05


@dataclass(frozen=True)
class Duel:
    """Two models.

    Attributes:
        first: Label of the one.
        second: Label of the other.
        difference: First minus second, with its interval.
        p: Corrected p-value.
    """

    first: str
    second: str
    difference: Figure
    p: float

    @property
    def winner(self) -> str:
        """Who beats the other significantly, '' where neither does."""
        if self.p >= ALPHA:
            return ""
        return self.first if self.difference.value > 0 else self.second


def duels(models: Mapping[str, Means], tasks: Sequence[str]) -> list[Duel]:
    """Every two models by their average over these tasks."""
    picked = {label: means.over(tasks) for label, means in models.items()}
    averages = {label: (m.value.mean(), m.draws.mean(axis=1)) for label, m in picked.items()}
    pairs = list(combinations(averages, 2))
    found: list[tuple[Figure, float]] = []
    for one, other in pairs:
        value = float(averages[one][0] - averages[other][0])
        draws = averages[one][1] - averages[other][1]
        found.append((Figure.of(value, draws), _p(value, float(draws.std(ddof=1)))))
    corrected = holm([p for _, p in found])
    return [
        Duel(*pair, difference, float(p))
        for pair, (difference, _), p in zip(pairs, found, corrected, strict=True)
    ]


def record(found: Sequence[Duel], label: str) -> tuple[int, int]:
    """How many others a model beats significantly, and how many beat it."""
    own = [duel for duel in found if label in (duel.first, duel.second)]
    wins = sum(duel.winner == label for duel in own)
    return wins, sum(bool(duel.winner) for duel in own) - wins


def _p(value: float, spread: float) -> float:
    """Two-sided p-value of a normal variable; of a difference that never varies, 0 or 1."""
    if spread < 1e-9:  # float32 draws of equal scores
        return 1.0 if abs(value) < 1e-9 else 0.0
    return math.erfc(abs(value) / spread / math.sqrt(2))
