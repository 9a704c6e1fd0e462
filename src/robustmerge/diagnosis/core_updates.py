r"""A module's updates in few coordinates: lengths, angles and singular values are the same there.

The updates of a module use R = Σ_t r_t directions on either side. In orthonormal bases of these,
B_t and A_t are R x r_t and r_t x R, and Δ_t is R x R, where the layer itself has 4096 x 11008 (Core
Space, arXiv:2509.17786). A merged update is taken beside the tasks by going on with the same QR
decomposition; only what it has outside of their span gets coordinates of its own.

The singular directions of an update are those above rounding (`linalg.numerical_rank`), so that
zero directions, such as of a padded rank, do not count. Their spans are the update's output space
(left) and input space (right); an update that is zero has neither.
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
from ..linalg import ROUNDING, SVD, compact_svd, numerical_rank, svd


@dataclass(frozen=True)
class CoreUpdate:
    """An update in few coordinates.

    Attributes:
        factors: Its factors there, float64.
    """

    factors: Factors

    @cached_property
    def delta(self) -> Float[Tensor, "p q"]:
        """The update itself."""
        return self.factors.dense()

    @cached_property
    def svd(self) -> SVD:
        """Its singular directions, without those that are rounding."""
        whole = svd(self.factors)
        k = numerical_rank(whole.S)
        return SVD(whole.U[:, :k], whole.S[:k], whole.Vh[:k], whole.energy)

    @cached_property
    def energy(self) -> float:
        """Squared Frobenius norm."""
        return float(self.svd.S.square().sum())

    @property
    def rank(self) -> int:
        """How many directions are not rounding."""
        return len(self.svd.S)

    def beside(self, p: int, q: int) -> CoreUpdate:
        """The same update in a space of more coordinates, the new ones zero."""
        pad = torch.nn.functional.pad
        A, B = self.factors.A, self.factors.B
        return CoreUpdate(Factors(pad(A, (0, q - A.shape[1])), pad(B, (0, 0, 0, p - len(B)))))


@dataclass(frozen=True)
class CoreSpace:
    """One module's updates in common coordinates.

    Attributes:
        shape: (d_out, d_in) of the layer, which is what chance depends on.
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
        """Take the updates there; costs O((d_out + d_in) R²)."""
        ranks = [f.rank for f in updates]
        B = Basis.of(torch.cat([f.B for f in updates], dim=1))
        A = Basis.of(torch.cat([f.A for f in updates]).T)
        parts = zip(torch.split(B.R, ranks, 1), torch.split(A.R, ranks, 1), strict=True)
        return cls(updates[0].shape, tuple(CoreUpdate(Factors(a.T, b)) for b, a in parts), B, A)

    @cached_property
    def outputs(self) -> Float[Tensor, "p k"]:
        """Basis of the adapters' output spaces together."""
        return compact_svd(torch.cat([task.svd.U for task in self.tasks], dim=1))[0]

    @cached_property
    def inputs(self) -> Float[Tensor, "q k"]:
        """Basis of the adapters' input spaces together."""
        return compact_svd(torch.cat([task.svd.Vh for task in self.tasks]).T)[0]

    def with_merged(self, update: Factors) -> tuple[tuple[CoreUpdate, ...], CoreUpdate]:
        """The tasks, and beside them a merged update."""
        merged = CoreUpdate(Factors(self.A.extended(update.A.T).T, self.B.extended(update.B)))
        p, q = merged.factors.shape
        return tuple(task.beside(p, q) for task in self.tasks), merged


def overlap(one: Float[Tensor, "d k"], other: Float[Tensor, "d l"]) -> float | None:
    """Mean squared cosine of the principal angles of two spaces, given by orthonormal bases.

    ‖X^T Y‖² / min(k, l): 1 if one space holds the other, 0 if they are orthogonal, and
    max(k, l) / d on average where one of them is drawn at random from d dimensions; None where a
    space is empty.
    """
    smaller = min(one.shape[1], other.shape[1])
    return float((one.T @ other).square().sum()) / smaller if smaller else None


def summed(parts: Sequence[Tensor]) -> Tensor:
    """Their sum; one that is rounding beside its parts is zero."""
    whole = torch.stack(list(parts)).sum(0)
    largest = sum(float(part.norm()) for part in parts)
    return whole if float(whole.norm()) > ROUNDING * largest else torch.zeros_like(whole)


def share(part: float, whole: float) -> float | None:
    """A part of the whole, None where there is no whole."""
    return part / whole if whole > 0 else None
