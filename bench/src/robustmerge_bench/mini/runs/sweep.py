"""The factor on a merge that is best on validation items: coarse steps first, then finer ones.

A grid whose best point is at an end is extended there until the best point is inside, or the limit
is reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

COARSE = 2.0
"""Ratio of neighbors in the first grid; the second halves the step."""

FINE = math.sqrt(2.0)
START = (0.25, 0.5, 1.0, 2.0, 4.0)
LIMIT = 64.0
"""Factors from 1 / LIMIT to LIMIT are tried at most."""


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        best: The factor with the highest score; the one nearest to 1 among equals.
        at_limit: The best is the last factor that is tried, so that better ones may lie beyond.
    """

    best: float
    tried: Mapping[float, float]
    at_limit: bool


def sweep(score: Callable[[float], float]) -> SweepResult:
    """Find the best factor; `score` returns that of a factor, and is called once for each."""
    tried = {factor: score(factor) for factor in START}
    while (beyond := _beyond(tried)) is not None:
        tried[beyond] = score(beyond)
    best = _best(tried)
    for factor in (best / FINE, best * FINE):
        if 1 / LIMIT <= factor <= LIMIT:
            tried[factor] = score(factor)
    best = _best(tried)
    return SweepResult(best, dict(sorted(tried.items())), best in (1 / LIMIT, LIMIT))


def _beyond(tried: Mapping[float, float]) -> float | None:
    """Return the next factor to try; None where the best lies inside or at the limit."""
    best = _best(tried)
    if best == max(tried) and best < LIMIT:
        return best * COARSE
    if best == min(tried) and best > 1 / LIMIT:
        return best / COARSE
    return None


def _best(tried: Mapping[float, float]) -> float:
    return max(tried, key=lambda factor: (tried[factor], -abs(math.log(factor))))
