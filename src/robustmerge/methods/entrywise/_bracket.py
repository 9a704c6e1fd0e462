"""Exact order statistics in one pass over long vectors of which a sample is at hand.

The sample says between which two values a statistic is all but certain to be. The pass counts what
is below those and keeps what is between them, 2 percent of the entries, among which the statistic
is found exactly. Where it is not between them, the pass was in vain, and the caller takes another
way.

Source: Floyd and Rivest, Expected time bounds for selection, CACM 18(3), 1975, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._partition import entries_at

Passes = Callable[[], Iterator[Sequence[Tensor]]]
"""Makes a pass over blocks of some vectors: one flat piece of each at a time."""

_ERRORS = 4.0
"""Standard errors of a sample's quantile on either side: one in 16,000 statistics is missed."""
_LEAST = 4
"""Entries of the sample on either side, for statistics near an end."""
NUMPY = (torch.float32, torch.float64)
"""Types that NumPy has."""


@dataclass
class _Bracket:
    """An order statistic, and the entries between two values that it is to be among."""

    position: int
    low: float
    high: float
    below: int = 0
    between: list[npt.NDArray[np.floating]] = field(default_factory=list)

    def take(self, x: npt.NDArray[np.floating]) -> None:
        """Count and keep the entries of a piece."""
        # Comparisons to bytes are many times faster in NumPy than in PyTorch.
        under, up_to = x < self.low, x <= self.high
        self.below += int(np.count_nonzero(under))
        self.between.append(x[np.greater(up_to, under)])

    def value(self) -> float | None:
        """Return the statistic; None if it is not between the two values."""
        kept = np.concatenate(self.between)
        position = self.position - self.below
        if not 0 <= position < len(kept):
            return None
        return entries_at(torch.from_numpy(kept), [position])[0]


def select_between(
    passes: Passes,
    sample: Sequence[Tensor],
    positions: Sequence[int],
    length: int,
) -> list[list[float]] | None:
    """Return the entries of each vector at positions of its ascending order; None if any is missed.

    Args:
        passes: Makes a pass over pieces of the vectors, on the CPU.
        sample: Entries at random positions of each vector.
        positions: From 0, ascending, each below the length.
        length: Entries of each vector.
    """
    brackets = [[_bracket(ordered, p, length) for p in positions] for ordered in map(_sort, sample)]
    for pieces in passes():
        for piece, own in zip(pieces, brackets, strict=True):
            for bracket in own:
                bracket.take(piece.numpy())
    values = [[bracket.value() for bracket in own] for own in brackets]
    exact = [[v for v in own if v is not None] for own in values]
    return exact if all(len(own) == len(positions) for own in exact) else None


def _sort(x: Tensor) -> npt.NDArray[np.floating]:
    ordered: npt.NDArray[np.floating] = np.sort(x.numpy())
    return ordered


def _bracket(ordered: npt.NDArray[np.floating], position: int, length: int) -> _Bracket:
    share, n = position / length, len(ordered)
    margin = _ERRORS * math.sqrt(n * share * (1 - share)) + _LEAST
    first, last = math.floor(share * n - margin), math.ceil(share * n + margin)
    low = float(ordered[first]) if first >= 0 else -math.inf
    return _Bracket(position, low, float(ordered[last]) if last < n else math.inf)
