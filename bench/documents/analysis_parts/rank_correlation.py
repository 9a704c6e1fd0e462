"""Rank correlation of many figures with one score, with intervals and corrected p-values.

Merges that are nearly the same count as one observation. They come in groups, and all resampling
here draws groups: `interval` resamples them, `adjusted_p_values` shuffles their means,
`check_on_halves` splits them. Ties share their mean rank; a constant has no correlation, NaN.

Sources: Spearman 1904; Westfall & Young 1993 for the p-values, which compare each figure with the
largest of all figures under shuffled scores and so allow for having tried them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

Groups = Sequence[Sequence[int]]
DRAWS = 2_000
DIGITS = 4
"""Figures are rounded to so many digits after the point: beyond them is the arithmetic's noise."""


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return rank correlations along the last axis, of arrays that broadcast together."""
    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return correlations along the last axis; NaN where one side does not vary."""
    x, y = (z - z.mean(axis=-1, keepdims=True) for z in (np.asarray(x), np.asarray(y)))
    size = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    inner = (x * y).sum(-1)
    correlations: np.ndarray = np.where(size > 1e-9, inner / np.where(size > 1e-9, size, 1), np.nan)
    return correlations


def partial(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    """Return the rank correlation of x and y [merge], z held."""
    xy, xz, yz = (float(spearman(a, b)) for a, b in ((x, y), (x, z), (y, z)))
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / rest**0.5 if rest > 1e-9 else float("nan")


def quantiles(drawn: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the middle of the draws; undefined ones are left out."""
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample_groups(groups: Groups, draws: int = DRAWS, seed: int = 0) -> list[np.ndarray]:
    """Return positions of merges, as often as their groups are drawn with replacement."""
    generator = np.random.default_rng(seed)
    arrays = [np.array(group) for group in groups]
    return [
        np.concatenate([arrays[i] for i in generator.integers(len(arrays), size=len(arrays))])
        for _ in range(draws)
    ]


def interval(x: np.ndarray, y: np.ndarray, groups: Groups, seed: int = 0) -> tuple[float, float]:
    """Bootstrap the rank correlation of x and y [merge] over groups."""
    drawn = [float(spearman(x[i], y[i])) for i in resample_groups(groups, seed=seed)]
    return quantiles(np.array(drawn))


def item_interval(
    x: np.ndarray, y: np.ndarray, errors: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of the correlation from the scores' own errors, taken as independent."""
    generator = np.random.default_rng(seed)
    scores = y + generator.normal(size=(DRAWS, len(y))) * errors
    return quantiles(spearman(x[None], scores))


def means_of_groups(groups: Groups, x: np.ndarray) -> np.ndarray:
    """Return means over groups along the last axis."""
    return np.stack([x[..., list(group)].mean(-1) for group in groups], axis=-1)


def adjusted_p_values(
    X: np.ndarray, y: np.ndarray, groups: Groups, draws: int = 20_000, seed: int = 0
) -> np.ndarray:
    """Return p-values [figure] of X [figure, merge] that allow for all figures tried."""
    ranks = rankdata(means_of_groups(groups, X), axis=-1)
    scores = rankdata(means_of_groups(groups, y))
    correlations = np.abs(pearson(ranks, scores))
    generator = np.random.default_rng(seed)
    largest = np.empty(draws)
    for i in range(draws):
        largest[i] = np.nanmax(np.abs(pearson(ranks, generator.permutation(scores))), initial=0)
    beaten = (largest[None] >= correlations[:, None] - 1e-12).sum(1)
    return np.where(np.isfinite(correlations), (1 + beaten) / (1 + draws), np.nan)


@dataclass(frozen=True)
class SplitCheck:
    """Figures chosen on one half of the groups, looked at on the other.

    Attributes:
        first: Median of the chosen figure's correlation where it was chosen.
        second: The same on the other half, in the chosen sign.
        low: Its 10 % quantile over the splits.
        high: Its 90 % quantile.
        chosen: How often each figure was chosen, as a share.
    """

    first: float
    second: float
    low: float
    high: float
    chosen: Mapping[str, float]


def check_on_halves(
    X: Mapping[str, np.ndarray], y: np.ndarray, groups: Groups, splits: int = 500, seed: int = 0
) -> SplitCheck:
    """Choose the figure that correlates most on half of the groups; correlate on the others."""
    names, matrix = list(X), np.stack(list(X.values()))
    generator = np.random.default_rng(seed)
    firsts, seconds, chosen = [], [], Counter[str]()
    for _ in range(splits):
        order = generator.permutation(len(groups))
        half, other = (
            np.concatenate([np.array(groups[i]) for i in half]) for half in np.array_split(order, 2)
        )
        here = np.nan_to_num(spearman(matrix[:, half], y[half]))
        best = int(np.abs(here).argmax())
        again = float(np.nan_to_num(spearman(matrix[best, other], y[other])))
        firsts.append(abs(here[best]))
        seconds.append(again * np.sign(here[best]))
        chosen[names[best]] += 1
    low, high = np.quantile(seconds, [0.1, 0.9])
    return SplitCheck(
        float(np.median(firsts)),
        float(np.median(seconds)),
        float(low),
        float(high),
        {name: count / splits for name, count in chosen.most_common()},
    )


def shuffled_tasks(
    X: np.ndarray, Y: np.ndarray, draws: int = 5_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate over tasks within a merge; return means over merges, and p-values for all figures.

    Args:
        X: Figures [figure, merge, task].
        Y: Scores [merge, task].
        draws: How often tasks are shuffled, for all merges alike: merges lose the same tasks, so
            that there are as many observations as tasks and no more.
        seed: Of the shuffling.
    """
    ranks, scores = rankdata(X, axis=-1), rankdata(Y, axis=-1)
    correlations = np.nan_to_num(pearson(ranks, scores[None])).mean(-1)
    generator = np.random.default_rng(seed)
    largest = np.empty(draws)
    for i in range(draws):
        order = generator.permutation(Y.shape[-1])
        largest[i] = np.abs(np.nan_to_num(pearson(ranks, scores[None][..., order])).mean(-1)).max()
    beaten = (largest[None] >= np.abs(correlations)[:, None] - 1e-12).sum(1)
    return correlations, (1 + beaten) / (1 + draws)


def center_twice(x: np.ndarray) -> np.ndarray:
    """Remove the means of merges and of tasks from [..., merge, task]."""
    by_merge, by_task = x.mean(-1, keepdims=True), x.mean(-2, keepdims=True)
    centered: np.ndarray = x - by_merge - by_task + x.mean((-2, -1), keepdims=True)
    return centered
