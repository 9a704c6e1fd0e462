"""Whether the weights tell how large a merge should be.

A tuned merge is a merge times the factor that was best on validation items. If some measure of size
had the same value in all tuned merges, that value over the merge's own would be the factor, and
nobody would have to tune. How well that does is measured by leaving each group of kin out, taking
the median of the others, and reading the validation score at that factor between those tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustmerge.diagnosis.verdict import TOO_LARGE, TOO_SMALL, USUAL

from .benchmark_scores import Measured
from .diagnosed_merges import Taken
from .rank_correlation import Groups

CANDIDATES = {
    "kept.coefficient, weighted, task mean": "mean coefficient",
    "size": "norm over the mean norm of the experts",
    "directions.largest.gain, mean, task mean": "gain along the largest directions",
    "directions.largest.ratio, mean, task mean": "largest singular value over the experts'",
}


def rules(
    merges: Sequence[Measured], taken: Sequence[Taken], groups: Groups
) -> list[dict[str, Any]]:
    """What a factor from the weights costs, in points of validation score below the tuned one."""
    found = []
    for name, said in CANDIDATES.items():
        own = np.array([t.flat()[name] for t in taken])
        best = own * np.array([m.factor for m in merges])
        factors = left_out(own, best, groups)
        low, middle, high = np.quantile(best, [0.1, 0.5, 0.9])
        found.append(
            {"rule": said, "low": low, "median": middle, "high": high, **_cost(merges, factors)}
        )
    ones = np.ones(len(merges))
    norms = np.array([1 / t.whole["size"] for t in taken])
    return [
        *found,
        {"rule": "norm-matched", **_cost(merges, norms)},
        {"rule": "as published", **_cost(merges, ones)},
    ]


def left_out(own: np.ndarray, best: np.ndarray, groups: Groups) -> np.ndarray:
    """The factor for each merge that brings it to the median best size of all but its kin."""
    factors = np.empty(len(own))
    for group in groups:
        others = np.setdiff1d(np.arange(len(own)), group)
        factors[list(group)] = np.median(best[others]) / own[list(group)]
    return factors


def read_off(tried: dict[float, float], factor: float) -> float:
    """Score at a factor, on straight lines between those tried over the logarithm of factors."""
    places = sorted(tried)
    x = np.log2(places)
    return float(np.interp(np.log2(factor), x, [tried[p] for p in places]))


def _cost(merges: Sequence[Measured], factors: np.ndarray) -> dict[str, float]:
    lost = np.array(
        [
            max(m.tried.values()) - read_off(dict(m.tried), float(f))
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


def zones(tuned: Sequence[Measured], own: Sequence[Measured], taken: Sequence[Taken]) -> list[Any]:
    """Best factors of merges that the diagnosis calls too small, too large, or neither."""
    at = {
        t.which: (loudness(found, t.which.count), t) for t, found in zip(tuned, taken, strict=True)
    }
    gains: dict[str, list[float]] = {}
    sizes = []
    for each in own:
        loud, best = at[each.which]
        assert best.factor is not None  # of a sweep
        sizes.append((loud, best.factor))
        gains.setdefault(zone_of(loud), []).append(best.score("seen") - each.score("seen"))
    found = counted(sizes)
    for row in found:
        gained = np.array(gains[row["zone"]])
        row |= {
            "gain": float(np.median(gained)),
            "gain of four": int((gained >= 4).sum()),
            "greatest": float(gained.max()),
        }
    return found


def counted(sizes: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """How many merges of each zone are best at less, as they are, and at more.

    Args:
        sizes: Loudness at their own scale, and best factor.
    """
    zones: dict[str, list[tuple[float, float]]] = {"too small": [], "neither": [], "too large": []}
    for loud, factor in sizes:
        zones[zone_of(loud)].append((loud, factor))
    return [
        {
            "zone": zone,
            "merges": len(found),
            "less": sum(factor < 0.99 for _, factor in found),
            "same": sum(0.99 <= factor <= 1.01 for _, factor in found),
            "more": sum(factor > 1.01 for _, factor in found),
            "usual": sum(usual(factor, loud) for loud, factor in found),
        }
        for zone, found in zones.items()
        if found
    ]


def zone_of(loud: float) -> str:
    """What the diagnosis says of a merge of this mean coefficient times √T."""
    return "too large" if loud >= TOO_LARGE else "too small" if loud < TOO_SMALL else "neither"


def usual(factor: float, loud: float) -> bool:
    """Whether a factor brings a merge into the range of sizes that the diagnosis names."""
    least, most = USUAL
    return least <= factor * loud <= most


def loudness(found: Taken, count: int) -> float:
    """Mean coefficient times √T; about 1 where orthogonal updates keep one adapter's norm."""
    return float(found.flat()["kept.coefficient, weighted, task mean"] * count**0.5)


def points(tuned: Sequence[Measured], taken: Sequence[Taken]) -> list[Any]:
    """Size of every merge and its best factor, for the picture."""
    return [
        {"merge": t.which.label, "size": loudness(found, t.which.count), "factor": t.factor}
        for t, found in zip(tuned, taken, strict=True)
    ]
