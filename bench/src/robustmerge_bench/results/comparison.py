"""Which differences are more than chance: pairwise comparisons on the same draws.

No p is below 2 / (draws + 1), so that many comparisons take many draws: 40,000 for every two of 40
methods, 2.5 s.

Source: Koehn, EMNLP 2004, for the paired comparison; Holm, Scandinavian Journal of Statistics 6
(1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from robustmerge.errors import MergeError

from .resampling import DRAWS, LEVEL, Draws, ResampledScores, ScoreEstimate, Scores, resample_means

ALPHA = 0.05


@dataclass(frozen=True)
class PairwiseComparison:
    """How much better one model is than another.

    Attributes:
        difference: Score of the first minus score of the second.
        p: Twice the share of draws in which the sign is another (or there is no difference): how
            easily chance alone would do this. 0 to 1, two-sided.
    """

    first: str
    second: str
    difference: ScoreEstimate
    p: float

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p < ALPHA

    @property
    def winner(self) -> str:
        """The model that is significantly better, '' where neither is."""
        if not self.significant:
            return ""
        return self.first if self.difference.value > 0 else self.second

    def reversed(self) -> PairwiseComparison:
        """Return the second compared with the first."""
        d = self.difference
        return PairwiseComparison(
            self.second, self.first, ScoreEstimate(-d.value, -d.high, -d.low), self.p
        )


def paired_difference(
    a: Scores, b: Scores, *, draws: int = DRAWS, seed: int = 0
) -> PairwiseComparison:
    """Compare two models on the same items, and the same seeds if there are several.

    Scores are in the order of the items: [items], [seeds, items], or by task.
    """
    values, drawn = resample_means({"the first": a, "the second": b}, draws, seed)
    return _compare(values, drawn, 0, 1, LEVEL)


def compare_all(
    models: Mapping[str, Scores], *, draws: int | None = None, seed: int = 0
) -> tuple[PairwiseComparison, ...]:
    """Compare every two models on one set of draws.

    Pairs are in the order of the models. Every p is Holm's, for all these comparisons together.
    Intervals are each pair's own.

    Scores are as in `paired_difference`. Unless given, the draws are as many as the number of
    pairs needs.

    Raises:
        MergeError: Too few draws for any p below 0.05.
    """
    if len(models) < 2:
        return ()
    draws = draws_for(len(models)) if draws is None else draws
    return compare_drawn(*resample_means(models, draws, seed))


def compare_resampled(
    models: Mapping[str, ResampledScores], tasks: Sequence[str]
) -> tuple[PairwiseComparison, ...]:
    """Compare every two models by their mean over tasks, those that have all of these tasks."""
    means = {n: m.averaged(tasks) for n, m in models.items() if m.values.keys() >= {*tasks}}
    if len(means) < 2:
        return ()
    drawn = np.stack([drawn for _, drawn in means.values()], axis=1)
    return compare_drawn({name: value for name, (value, _) in means.items()}, drawn)


def draws_for(models: int, level: float = LEVEL) -> int:
    """Return the draws that are needed to compare every two of so many models."""
    return max(DRAWS, 2 * _least_draws(models, level))


def compare_drawn(
    values: Mapping[str, float],
    drawn: Float[np.ndarray, "draws models"],
    *,
    level: float = LEVEL,
) -> tuple[PairwiseComparison, ...]:
    """Compare every two models by any statistic, given its values in every draw.

    `drawn` has the same statistic over resampled items, the same draw for all models. `level` is
    the share of the drawn differences within each interval.

    Raises:
        MergeError: Too few draws for any p below 1 - level.
    """
    pairs = list(combinations(range(len(values)), 2))
    needed = _least_draws(len(values), level)
    if len(drawn) < needed:
        raise MergeError(
            f"{len(drawn)} draws are too few to compare {len(pairs)} pairs of methods",
            where="the comparison of all methods",
            hint=f"draw at least {needed} times, or compare fewer methods",
        )
    raw = [_compare(values, drawn, i, j, level) for i, j in pairs]
    adjusted = holm([comparison.p for comparison in raw])
    return tuple(replace(c, p=p) for c, p in zip(raw, adjusted, strict=True))


def count_wins_and_losses(comparisons: Sequence[PairwiseComparison], label: str) -> tuple[int, int]:
    """Count the others that a model beats significantly, and those that beat it."""
    own = [each.winner for each in comparisons if label in (each.first, each.second)]
    wins = own.count(label)
    return wins, sum(map(bool, own)) - wins


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values of several comparisons, so that one below 0.05 is one in 20 for all of them.

    The least is multiplied by the number of comparisons, the next by one less, and so on; none
    becomes less than one before it, or more than 1.

    >>> holm([0.04, 0.01, 0.5])
    [0.08, 0.03, 0.5]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, p[i] * (len(p) - rank)))
        adjusted[i] = least
    return adjusted


def _least_draws(models: int, level: float) -> int:
    return int(models * (models - 1) / (1 - level)) + 1


def _compare(
    values: Mapping[str, float],
    drawn: Float[np.ndarray, "draws models"],
    i: int,
    j: int,
    level: float,
) -> PairwiseComparison:
    """Compare two of the models, without a correction for the others."""
    names, means = list(values), list(values.values())
    differences: Draws = drawn[:, i] - drawn[:, j]
    estimate = ScoreEstimate.of(means[i] - means[j], differences, level)
    return PairwiseComparison(names[i], names[j], estimate, _p_value(differences))


def _p_value(differences: Draws) -> float:
    rounding = 1e-12 * max(1.0, float(np.abs(differences).max()))
    opposite = min(int((differences <= rounding).sum()), int((differences >= -rounding).sum()))
    return min(1.0, 2 * (opposite + 1) / (len(differences) + 1))
