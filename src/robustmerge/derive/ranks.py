r"""How many directions of a full-rank change are kept: by number, by energy, or above noise.

    16                 the leading 16
    energy:0.95        the fewest that hold this share of the energy, Σ σ_i²
    marchenko-pastur   those above the largest singular value that noise would have
    gavish-donoho      those above ω(β) · median σ, with β = smaller side / larger side

Marchenko-Pastur: noise of variance s² per entry in an m x n matrix has singular values up to
s (√m + √n), and the largest exceeds this by what the Tracy-Widom law says. The variance is that of
the energy that the kept directions leave in the (m - r) (n - r) entries outside of them, and both
are determined in turns until they agree.

Sources: Johnstone, Annals of Statistics 2001 (centering, scaling and the 99 % point of the largest
eigenvalue); Gavish and Donoho, The optimal hard threshold for singular values is 4/√3, IEEE
Transactions on Information Theory 2014, arXiv:1305.5870 (equation 5, the approximation of ω).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor

from ..errors import MergeError, shown

_TRACY_WIDOM_99 = 2.0234
"""99 % of the largest eigenvalues of real noise are below, in units of their spread (Johnstone)."""
_FIRST = 32
"""Directions that are computed first where the rule does not say how many there will be."""


@dataclass(frozen=True)
class SingularValues:
    """Singular values of one change, largest first.

    Attributes:
        S: The leading ones, or all.
        energy: Sum of all squared ones.
        shape: (d_out, d_in).
    """

    S: Float[Tensor, " k"]
    energy: float
    shape: tuple[int, int]

    @property
    def complete(self) -> bool:
        """Whether these are all."""
        return len(self.S) == min(self.shape)


class RankRule(ABC):
    """A rule that chooses the rank of a module's update."""

    @property
    def first(self) -> int | None:
        """How many leading directions it needs to begin with; None where it needs all values."""
        return _FIRST

    @abstractmethod
    def choose(self, spectrum: SingularValues) -> int | None:
        """Return the rank; None where the leading values do not determine it."""


@dataclass(frozen=True)
class Number(RankRule):
    """A number of directions."""

    rank: int

    @property
    def first(self) -> int:
        """The number itself."""
        return self.rank

    def choose(self, spectrum: SingularValues) -> int:
        """Return the number, or that of all directions if they are fewer."""
        return min(self.rank, *spectrum.shape)


@dataclass(frozen=True)
class Energy(RankRule):
    """A share of the energy."""

    share: float

    def choose(self, spectrum: SingularValues) -> int | None:
        """Return the smallest rank that holds the share."""
        held = spectrum.S.square().cumsum(0)
        # Rounding in the sum must not ask for one direction more than there are.
        rank = int((held < self.share * spectrum.energy * (1 - 1e-12)).sum()) + 1
        if rank > len(spectrum.S):
            return len(spectrum.S) if spectrum.complete else None
        return rank


class MarchenkoPastur(RankRule):
    """What is above the largest singular value of noise."""

    def choose(self, spectrum: SingularValues) -> int | None:
        """Return how many values are above the edge of the noise that they leave."""
        rank, squares = 0, spectrum.S.square()
        while True:
            left = max(spectrum.energy - float(squares[:rank].sum()), 0.0)
            # What is outside of r directions on either side has (m - r) (n - r) free entries.
            m, n = (side - rank for side in spectrum.shape)
            edge = left / (m * n) * _largest_of_noise((m, n)) if min(m, n) else left
            above = int((squares > edge).sum())
            if above <= rank:
                return rank
            if above == len(squares):
                return above if spectrum.complete else None
            rank = above


class GavishDonoho(RankRule):
    """What is above the optimal hard threshold for noise of unknown size."""

    @property
    def first(self) -> None:
        """All: the median is in the middle of them."""
        return None

    def choose(self, spectrum: SingularValues) -> int | None:
        """Return how many values are above ω(β) times the median."""
        if not spectrum.complete:
            return None
        beta = min(spectrum.shape) / max(spectrum.shape)
        omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
        return int((omega * spectrum.S.median() < spectrum.S).sum())


CUTS: Mapping[str, type[RankRule]] = MappingProxyType(
    {"marchenko-pastur": MarchenkoPastur, "gavish-donoho": GavishDonoho}
)
"""Rules that separate directions from noise, by name."""


def parse_rank(rank: int | str) -> RankRule:
    """Return the rule that a text or number means.

    Raises:
        MergeError: neither a number from 1, nor energy:SHARE, nor the name of a cut.
    """
    text = str(rank)
    if text in CUTS:
        return CUTS[text]()
    try:
        share = float(text.removeprefix("energy:"))
        if text.startswith("energy:") and 0 < share <= 1:
            return Energy(share)
        if not isinstance(rank, bool) and int(text) >= 1:
            return Number(int(text))
    except ValueError:
        pass
    raise MergeError(
        f"rank {shown(rank)} is not possible",
        where="--rank",
        hint=f"a number such as 64, energy:SHARE such as energy:0.95, or {' or '.join(CUTS)}",
    )


def _largest_of_noise(shape: tuple[int, int]) -> float:
    """Return the 99 % point of the largest squared singular value of unit noise."""
    p, n = math.sqrt(min(shape)), math.sqrt(max(max(shape) - 1, 1))
    center = (n + p) ** 2
    spread: float = (n + p) * (1 / n + 1 / p) ** (1 / 3)
    return center + _TRACY_WIDOM_99 * spread
