"""Who beats whom: all pairs of merges on the same items, corrected for how many pairs there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...figure import ScoreEstimate
from ...stats import compare_all
from .resample import Scores

ALPHA = 0.05


@dataclass(frozen=True)
class Duel:
    """Two merges.

    Attributes:
        first: Label of the one.
        second: Label of the other.
        difference: First minus second, with its interval.
        p: Of chance alone, corrected by Holm for all pairs.
    """

    first: str
    second: str
    difference: ScoreEstimate
    p: float

    @property
    def winner(self) -> str:
        """Who beats the other significantly, '' where neither does."""
        if self.p >= ALPHA:
            return ""
        return self.first if self.difference.value > 0 else self.second


def duels(models: Mapping[str, Scores], tasks: Sequence[str]) -> tuple[Duel, ...]:
    """Every two models by their average over these tasks."""
    picked = {label: {t: scores[t] for t in tasks} for label, scores in models.items()}
    return tuple(
        Duel(first, second, ScoreEstimate(d.mean, d.low, d.high), d.p)
        for (first, second), d in compare_all(picked).items()
    )


def record(found: Sequence[Duel], label: str) -> tuple[int, int]:
    """How many others a model beats significantly, and how many beat it."""
    own = [duel for duel in found if label in (duel.first, duel.second)]
    wins = sum(duel.winner == label for duel in own)
    return wins, sum(bool(duel.winner) for duel in own) - wins
