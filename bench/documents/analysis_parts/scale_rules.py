"""How large a merge should be, read off its weights.

A tuned merge is a merge times the factor that was best on validation items. If some measure of size
had the same value in all tuned merges, that value over the merge's own would be the factor, without
tuning. To measure how well that works, each group of related merges is left out, taking the median
of the others, and interpolating the validation score at that factor between those tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustmerge.diagnosis.verdict import TOO_LARGE, TOO_SMALL, USUAL

from .benchmark_scores import MeasuredMerge
from .diagnosed_merges import DiagnosedMerge
from .rank_correlation import Groups

CANDIDATES = {
    "kept.coefficient, weighted, task mean": "mean coefficient",
    "size": "norm over the mean norm of the experts",
    "directions.largest.gain, mean, task mean": "gain along the largest directions",
    "directions.largest.ratio, mean, task mean": "largest singular value over the experts'",
}


def rules(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge], groups: Groups
) -> list[dict[str, Any]]:
    """Measure what a factor from the weights costs, in points below the tuned score."""
    costs = []
    for name, rule in CANDIDATES.items():
        own = np.array([t.flat()[name] for t in diagnosed])
        best = own * np.array([m.factor for m in merges])
        factors = factors_of_others(own, best, groups)
        low, middle, high = np.quantile(best, [0.1, 0.5, 0.9])
        costs.append(
            {"rule": rule, "low": low, "median": middle, "high": high, **_cost(merges, factors)}
        )
    ones = np.ones(len(merges))
    norms = np.array([1 / t.whole["size"] for t in diagnosed])
    return [
        *costs,
        {"rule": "norm-matched", **_cost(merges, norms)},
        {"rule": "as published", **_cost(merges, ones)},
    ]


def factors_of_others(own: np.ndarray, best: np.ndarray, groups: Groups) -> np.ndarray:
    """Return the factor that brings each merge to the median best size of all unrelated merges."""
    factors = np.empty(len(own))
    for group in groups:
        others = np.setdiff1d(np.arange(len(own)), group)
        factors[list(group)] = np.median(best[others]) / own[list(group)]
    return factors


def interpolate(tried: dict[float, float], factor: float) -> float:
    """Interpolate the score at a factor, linearly over the logarithm of those tried."""
    factors = sorted(tried)
    x = np.log2(factors)
    return float(np.interp(np.log2(factor), x, [tried[f] for f in factors]))


def _cost(merges: Sequence[MeasuredMerge], factors: np.ndarray) -> dict[str, float]:
    lost = np.array(
        [
            max(m.tried.values()) - interpolate(dict(m.tried), float(f))
            for m, f in zip(merges, factors, strict=True)
        ]
    )
    beyond = sum(
        not min(m.tried) <= f <= max(m.tried) for m, f in zip(merges, factors, strict=True)
    )
    return {
        "mean": float(lost.mean()),
        "middle": float(np.median(lost)),
        "worst": float(lost.max()),
        "beyond": beyond,
    }


def zones(
    tuned: Sequence[MeasuredMerge],
    own: Sequence[MeasuredMerge],
    diagnosed: Sequence[DiagnosedMerge],
) -> list[Any]:
    """Count best factors of merges that the diagnosis calls too small, too large, or neither."""
    at = {
        t.which: (coefficient_size(merge, t.which.count), t)
        for t, merge in zip(tuned, diagnosed, strict=True)
    }
    gains: dict[str, list[float]] = {}
    sizes = []
    for each in own:
        size, best = at[each.which]
        assert best.factor is not None  # of a sweep
        sizes.append((size, best.factor))
        gains.setdefault(zone_of(size), []).append(best.score("seen") - each.score("seen"))
    rows = count_by_zone(sizes)
    for row in rows:
        gained = np.array(gains[row["zone"]])
        row |= {
            "gain": float(np.median(gained)),
            "gain of four": int((gained >= 4).sum()),
            "greatest": float(gained.max()),
        }
    return rows


def count_by_zone(sizes: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """Count the merges of each zone that are best at less, as they are, and at more.

    Args:
        sizes: Mean coefficient times √T at their own scale, and best factor.
    """
    zones: dict[str, list[tuple[float, float]]] = {"too small": [], "neither": [], "too large": []}
    for size, factor in sizes:
        zones[zone_of(size)].append((size, factor))
    return [
        {
            "zone": zone,
            "merges": len(merges),
            "less": sum(factor < 0.99 for _, factor in merges),
            "same": sum(0.99 <= factor <= 1.01 for _, factor in merges),
            "more": sum(factor > 1.01 for _, factor in merges),
            "usual": sum(in_usual_range(factor, size) for size, factor in merges),
        }
        for zone, merges in zones.items()
        if merges
    ]


def zone_of(size: float) -> str:
    """Return the diagnosis of a merge of this mean coefficient times √T."""
    return "too large" if size >= TOO_LARGE else "too small" if size < TOO_SMALL else "neither"


def in_usual_range(factor: float, size: float) -> bool:
    """Return whether a factor brings a merge into the range of sizes that the diagnosis names."""
    least, most = USUAL
    return least <= factor * size <= most


def coefficient_size(merge: DiagnosedMerge, count: int) -> float:
    """Return the mean coefficient times √T; 1 where orthogonal updates keep one adapter's norm."""
    return float(merge.flat()["kept.coefficient, weighted, task mean"] * count**0.5)


def points(tuned: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge]) -> list[Any]:
    """Return the size of every merge and its best factor, for the chart."""
    return [
        {"merge": t.which.label, "size": coefficient_size(merge, t.which.count), "factor": t.factor}
        for t, merge in zip(tuned, diagnosed, strict=True)
    ]
