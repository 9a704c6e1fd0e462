"""Orthonormal bases of many long columns, by Householder QR."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Basis:
    """A thin QR decomposition X = Q R whose Q is left as the reflections it is the product of.

    Only the few directions that are wanted pass through them, which is half the work of making Q.
    All of it is float64, and on nearly equal columns it loses nothing: a Gram matrix would square
    away the little by which adapters of one initialization differ.

    Attributes:
        H: The reflections, below R.
        tau: Their scalars; as many as Q has columns, min(d, n).
    """

    H: Float[Tensor, "d n"]
    tau: Float[Tensor, " k"]

    @classmethod
    def of(cls, X: Float[Tensor, "d n"]) -> Basis:
        """Decompose X; costs O(d n^2)."""
        return cls(*torch.geqrf(X.double()))

    @property
    def R(self) -> Float[Tensor, "k n"]:  # noqa: N802 (the letter it has everywhere)
        """The triangular factor: the columns of X in this basis."""
        return self.H[: len(self.tau)].triu()

    def lift(self, X: Float[Tensor, "k n"]) -> Float[Tensor, "d n"]:
        """Q @ X: columns given in this basis, in full length; costs O(d k n)."""
        # Not by pad(), which refuses tensors without columns in torch 2.6.
        padded = X.new_zeros(len(self.H), X.shape[1])  # [d, n]
        padded[: len(X)] = X
        return torch.ormqr(self.H[:, : len(self.tau)], self.tau, padded)

    def project(self, X: Float[Tensor, "d n"]) -> Float[Tensor, "k n"]:
        """Q^T @ X: columns' coordinates in this basis, what is outside of it left out."""
        k = len(self.tau)
        turned: Tensor = torch.ormqr(self.H[:, :k], self.tau, X, transpose=True)
        return turned[:k]

    def extended(self, X: Float[Tensor, "d n"]) -> Float[Tensor, "m n"]:
        """Other columns, in this basis and what they add to it, which is as if QR had gone on.

        The first k rows are Q^T X. The others hold what of X is outside the span, in directions of
        its own, so that lengths and angles are kept; columns given before have zeros there.
        """
        k = len(self.tau)
        X = X.double()
        turned = torch.ormqr(self.H[:, :k], self.tau, X, transpose=True) if k else X
        return torch.cat([turned[:k], Basis.of(turned[k:]).R])

    @property
    def Q(self) -> Float[Tensor, "d k"]:  # noqa: N802 (the letter it has everywhere)
        """The directions themselves."""
        Q: Tensor = torch.linalg.householder_product(self.H[:, : len(self.tau)], self.tau)
        return Q
