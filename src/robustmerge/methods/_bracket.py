"""Exact order statistics in one pass over long vectors, of which a sample is at hand or is taken.

The sample says between which two values a statistic is all but certain to be. The pass counts what
is below those and keeps what is between them, 2 percent of the entries, among which the statistic
is found exactly. Where it is not between them, the pass was in vain, and the caller takes another
way.

Source: Floyd and Rivest, Expected time bounds for selection, CACM 18(3), 1975, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from ._partition import entries_at

Passes = Callable[[], Iterator[Sequence[Tensor]]]
"""Makes a pass over blocks of some vectors: one flat piece of each at a time."""

_ERRORS = 4.0
"""Standard errors of a sample's quantile on either side: one in 16,000 statistics is missed."""
_ERRORS_IN_MEMORY = 2.5
"""The same where another way costs no pass, but three times as much: one in 80 is missed."""
_LONG = 1 << 14
"""Entries of a vector in memory from which a sample is worth its while."""
_STRIDE = 49
"""Distance of the entries in its sample; odd, so that those of a matrix are of all columns."""
_LEAST = 4
"""Entries of the sample on either side, for statistics near an end."""
NUMPY: Mapping[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}
"""NumPy's names of its types."""


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
        # Faster than indexing by a mask.
        self.between.append(x.take(np.flatnonzero(np.greater(up_to, under, out=under))))

    def value(self) -> float | None:
        """Return the statistic; None if it is not between the two values."""
        kept = np.concatenate(self.between)
        position = self.position - self.below
        if not 0 <= position < len(kept):
            return None
        kept.partition(position)
        return float(kept[position])


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


def entries_in_memory(
    x: Float[Tensor, " n"], positions: Sequence[int], *, reorder: bool = False
) -> list[float]:
    """Return the entries of a vector in memory at positions of its ascending order, from 0.

    Args:
        x: The vector, on the CPU.
        positions: The positions, ascending.
        reorder: The vector may be reordered, which may save a copy; none of it is negative.
    """
    if x.numel() >= _LONG and x.dtype in NUMPY and positions:
        ordered = _sort(x[::_STRIDE])
        brackets = [_bracket(ordered, p, x.numel(), _ERRORS_IN_MEMORY) for p in positions]
        for bracket in brackets:
            bracket.take(x.numpy())
        values = [bracket.value() for bracket in brackets]
        if None not in values:
            return [value for value in values if value is not None]
    return entries_at(x, positions, reorder=reorder)


def _sort(x: Tensor) -> npt.NDArray[np.floating]:
    ordered: npt.NDArray[np.floating] = np.sort(x.numpy())
    return ordered


def _bracket(
    ordered: npt.NDArray[np.floating], position: int, length: int, errors: float = _ERRORS
) -> _Bracket:
    share, n = position / length, len(ordered)
    margin = errors * math.sqrt(n * share * (1 - share)) + _LEAST
    first, last = math.floor(share * n - margin), math.ceil(share * n + margin)
    low = float(ordered[first]) if first >= 0 else -math.inf
    return _Bracket(position, low, float(ordered[last]) if last < n else math.inf)
