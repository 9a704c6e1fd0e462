r"""A module's updates in few coordinates, with the same norms, angles and singular values.

The updates of a module use R = Σ_t r_t directions on either side. In orthonormal bases of these,
B_t and A_t are R x r_t and r_t x R, and Δ_t is R x R, where the layer itself has 4096 x 11008 (Core
Space, arXiv:2509.17786). For a merged update the same QR decomposition is continued: only its part
outside of the adapters' span gets coordinates of its own.

The singular directions of an update are those above rounding error (`linalg.numerical_rank`): zero
directions, such as those of a padded rank, do not count. They span the update's output space (left)
and input space (right). An update that is zero has neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..basis import Basis
from ..factors import Factors
from ..linalg import ROUNDING, SVD, common_bases, compact_svd, numerical_rank, svd


@dataclass(frozen=True)
class CoreUpdate:
    """An update in few coordinates.

    Attributes:
        factors: Its factors in these coordinates, float64.
    """

    factors: Factors

    @cached_property
    def delta(self) -> Float[Tensor, "p q"]:
        """The dense update."""
        return self.factors.dense()

    @cached_property
    def svd(self) -> SVD:
        """Its singular directions above rounding error."""
        whole = svd(self.factors)
        k = numerical_rank(whole.S)
        return SVD(whole.U[:, :k], whole.S[:k], whole.Vh[:k], whole.energy)

    @cached_property
    def energy(self) -> float:
        """Squared Frobenius norm."""
        return float(self.svd.S.square().sum())

    @property
    def rank(self) -> int:
        """The number of directions above rounding error."""
        return len(self.svd.S)

    def padded(self, p: int, q: int) -> CoreUpdate:
        """Return the same update with zero rows and columns up to p x q coordinates."""
        A, B = self.factors.A, self.factors.B
        columns, rows = A.new_zeros(len(A), q - A.shape[1]), B.new_zeros(p - len(B), B.shape[1])
        return CoreUpdate(Factors(torch.cat([A, columns], dim=1), torch.cat([B, rows])))


@dataclass(frozen=True)
class CoreSpace:
    """One module's updates in common coordinates.

    Attributes:
        shape: (d_out, d_in) of the layer, on which chance levels depend.
        tasks: The adapters' updates.
        B: Basis of all their output directions.
        A: Basis of all their input directions.
    """

    shape: tuple[int, int]
    tasks: tuple[CoreUpdate, ...]
    B: Basis
    A: Basis

    @classmethod
    def of(cls, updates: Sequence[Factors]) -> CoreSpace:
        """Project the updates of one module; costs O((d_out + d_in) R²)."""
        B, A, inside = common_bases(updates)
        return cls(updates[0].shape, tuple(CoreUpdate(f) for f in inside), B, A)

    @cached_property
    def outputs(self) -> Float[Tensor, "p k"]:
        """Orthonormal basis of the sum of the adapters' output spaces."""
        return compact_svd(torch.cat([task.svd.U for task in self.tasks], dim=1))[0]

    @cached_property
    def inputs(self) -> Float[Tensor, "q k"]:
        """Orthonormal basis of the sum of the adapters' input spaces."""
        return compact_svd(torch.cat([task.svd.Vh for task in self.tasks]).T)[0]

    def with_merged(self, update: Factors) -> tuple[tuple[CoreUpdate, ...], CoreUpdate]:
        """Return the adapters' updates and a merged one in common coordinates."""
        merged = CoreUpdate(Factors(self.A.extended(update.A.T).T, self.B.extended(update.B)))
        p, q = merged.factors.shape
        return tuple(task.padded(p, q) for task in self.tasks), merged


def subspace_overlap(X: Float[Tensor, "d k"], Y: Float[Tensor, "d l"]) -> float | None:
    """Return the mean squared cosine of the principal angles of two spaces.

    X and Y are orthonormal bases.

    ‖X^T Y‖² / min(k, l): 1 if one space contains the other, 0 if they are orthogonal, and
    max(k, l) / d on average if one of them is random in d dimensions; None if a space is empty.
    """
    smaller = min(X.shape[1], Y.shape[1])
    return float((X.T @ Y).square().sum()) / smaller if smaller else None


def add(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of the parts, zero where it is only rounding error of them."""
    whole = torch.stack(list(parts)).sum(0)
    largest = sum(float(part.norm()) for part in parts)
    return whole if float(whole.norm()) > ROUNDING * largest else torch.zeros_like(whole)


def share(part: float, whole: float) -> float | None:
    """Return part / whole, None where the whole is zero."""
    return part / whole if whole > 0 else None
