"""Compare the updates of several adapters: their sizes, and whether their A's share a start.

Everything comes from Gram matrices of rank by rank; no update is formed. With G = A Aᵀ and
C = A_1 A_2ᵀ

    cosine of the entries       tr C / √(tr G_1 tr G_2)
    cosine of the row spaces    √(tr(G_1⁺ C G_2⁺ Cᵀ) / r), the quadratic mean over the r principal
                                angles, which for unrelated spaces is √(r / d_in)
    norm of an update           √ tr((BᵀB) (A Aᵀ))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..adapter import align
from ..adapter.reader import Adapter

SAMPLE = 24
"""Most modules that are compared; they are spread evenly over the model."""

SHARED = 0.5
"""From this mean cosine on, A's are taken to come from one initialization: trained ones drift, and
unrelated ones lie within a few hundredths of zero."""

UNRELATED = 0.1
"""Up to this mean cosine, A's are taken to be unrelated."""

UNEVEN = 2.0
"""From this ratio of the largest norm to the smallest on, norms are called uneven."""

_NULL = 1e-10  # share of the largest eigenvalue below which a direction counts as absent

Verdict = Literal["shared", "rotated", "independent", "unclear", "mixed"]


@dataclass(frozen=True)
class UpdateNorm:
    """Size of an update.

    Attributes:
        whole: Frobenius norm over all modules.
        modules: How many there are.
        zero: How many of them have a zero update.
    """

    whole: float
    modules: int
    zero: int


@dataclass(frozen=True)
class AdapterPair:
    """Two adapters, by their positions; means over the modules that were compared.

    Attributes:
        first: Position of the first.
        second: Position of the second.
        cosine: Of the entries of A; None where no module has the same rank in both.
        row_spaces: Of the row spaces of A.
        chance: The value of unrelated row spaces.
    """

    first: int
    second: int
    cosine: float | None
    row_spaces: float
    chance: float

    @property
    def verdict(self) -> Verdict:
        """The verdict of the figures.

        rotated: the same row spaces in other coordinates, so that entries do not correspond.
        """
        if self.cosine is not None and self.cosine >= SHARED:
            return "shared"
        if self.chance < 1 and (self.row_spaces - self.chance) / (1 - self.chance) >= SHARED:
            return "rotated"
        return "independent" if abs(self.cosine or 0.0) < UNRELATED else "unclear"


@dataclass(frozen=True)
class FactorSimilarity:
    """A comparison of the A's of several adapters.

    Attributes:
        modules: How many modules were compared.
        of: How many modules they have in common.
        pairs: Every two adapters.
    """

    modules: int
    of: int
    pairs: tuple[AdapterPair, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict of all pairs; mixed where they disagree."""
        verdicts = {pair.verdict for pair in self.pairs}
        return verdicts.pop() if len(verdicts) == 1 else "mixed"


def measure_norm(adapter: Adapter) -> UpdateNorm:
    """Measure the size of an adapter's update, scalings included; read every factor once.

    Raises:
        MergeError: a tensor cannot be read or holds NaN or infinity.
    """
    squares = []
    for name in adapter.modules:
        factors = adapter.factors(name)
        A, B = factors.A.double(), factors.B.double()
        squares.append(max(float(((B.T @ B) * (A @ A.T)).sum()), 0.0))
    return UpdateNorm(math.sqrt(sum(squares)), len(squares), sum(square == 0 for square in squares))


def compare_factors(adapters: Sequence[Adapter]) -> FactorSimilarity | None:
    """Compare the A's of every two adapters; None where they have no module in common.

    Raises:
        MergeError: a tensor cannot be read or holds NaN or infinity.
    """
    common = [n for n in adapters[0].modules if len({_width(a, n) for a in adapters}) == 1]
    common.sort(key=align.natural_key)
    if not common:
        return None
    sample = spread_evenly(common, SAMPLE)
    pairs = list(combinations(range(len(adapters)), 2))
    figures: dict[tuple[int, int], list[_Figures]] = {pair: [] for pair in pairs}
    for name in sample:
        spaces = [_Space.of(a.modules[name].A.read().double()) for a in adapters]
        for i, j in pairs:
            figures[i, j].append(_compare(spaces[i], spaces[j]))
    return FactorSimilarity(len(sample), len(common), tuple(_mean(p, figures[p]) for p in pairs))


def spread_evenly(names: Sequence[str], most: int) -> list[str]:
    """Select at most this many names, evenly spaced from the first to the last."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


@dataclass(frozen=True)
class _Figures:
    """One module's: cosine of the entries, and of the row spaces with its value by chance."""

    cosine: float | None
    row_spaces: float
    chance: float


@dataclass(frozen=True)
class _Space:
    """The rows of one A.

    Attributes:
        A: The rows themselves.
        inverse: Pseudo-inverse of their Gram matrix.
        dim: How many independent directions there are.
        size: Their Frobenius norm.
    """

    A: Float[Tensor, "rank d_in"]
    inverse: Float[Tensor, "rank rank"]
    dim: int
    size: float

    @classmethod
    def of(cls, A: Float[Tensor, "rank d_in"]) -> _Space:
        values, vectors = torch.linalg.eigh(A @ A.T)
        present = values > _NULL * values[-1].clamp_min(0)
        basis = vectors[:, present]  # [rank, dim]
        inverse = (basis / values[present]) @ basis.T
        return cls(A, inverse, int(present.sum()), math.sqrt(max(float(values.sum()), 0.0)))


def _compare(first: _Space, second: _Space) -> _Figures:
    if first.size == 0 or second.size == 0:
        return _Figures(0.0, 0.0, 0.0)
    C = first.A @ second.A.T
    cosine = None
    if C.shape[0] == C.shape[1]:
        cosine = float(C.diagonal().sum()) / (first.size * second.size)
    shared = float(((first.inverse @ C @ second.inverse) * C).sum())
    smaller, larger = sorted((first.dim, second.dim))
    return _Figures(
        cosine,
        math.sqrt(min(max(shared / smaller, 0.0), 1.0)),
        math.sqrt(larger / first.A.shape[1]),
    )


def _mean(pair: tuple[int, int], figures: Sequence[_Figures]) -> AdapterPair:
    cosines = [f.cosine for f in figures if f.cosine is not None]
    n = len(figures)
    return AdapterPair(
        *pair,
        cosine=sum(cosines) / len(cosines) if cosines else None,
        row_spaces=sum(f.row_spaces for f in figures) / n,
        chance=sum(f.chance for f in figures) / n,
    )


def _width(adapter: Adapter, name: str) -> int | None:
    """Return the input width of a module, None where it is missing."""
    return adapter.modules[name].shape[1] if name in adapter.modules else None
