"""Least squares on proxies of the inputs: minimize Σ_t ‖(Δ - T_t) X_t^T‖² over Δ.

T_t is the target of adapter t, X_t stands for the inputs on which it holds. The normal equations
are Δ C = G with C = Σ_t X_t^T X_t and G = Σ_t T_t X_t^T X_t. In the eigenvectors of C,
C = V diag(λ) V^T, every direction is solved for itself, and a filter 0 <= f <= 1 says how much of
the way from Δ_0 is gone:

    Δ = Δ_0 - Δ_0 V diag(f) V^T + G V diag(f / λ) V^T

f = 1 is the minimizer, gradient descent from Δ_0 stopped early is another f, and so is leaving
directions out. The X_t are decomposed themselves: C has their singular values squared, which in
float64 would lose all below 1e-8 of the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Dense, Lifted
from ...linalg import Core, compact_svd
from ...quadratic import Quadratic
from .._registry import Cut

Start = Literal["sum", "mean", "zero"]


@dataclass(frozen=True)
class Interference:
    """The sum of squares ‖Δ V diag(S) - Y‖², which differs from the one above by a constant.

    Attributes:
        Y: The targets, in the coordinates of V.
        S: Singular values of all X_t one below the other; those that are more than rounding.
        V: Their right directions.
    """

    Y: Float[Tensor, "p k"]
    S: Float[Tensor, " k"]
    V: Float[Tensor, "q k"]

    @classmethod
    def of(
        cls, targets: Float[Tensor, "task p q"], inputs: Float[Tensor, "task p q"]
    ) -> Interference:
        """Decompose the inputs X_t; targets are the T_t."""
        U, S, Vh = compact_svd(inputs.flatten(0, 1))  # of [task·p, q]
        parts = U.view(*inputs.shape[:2], len(S))  # [task, p, k]
        return cls((targets @ inputs.mT @ parts).sum(0), S, Vh.T)

    @property
    def eigenvalues(self) -> Float[Tensor, " k"]:
        """Those of C, largest first."""
        return self.S.square()

    def solution(
        self, start: Float[Tensor, "p q"], f: Float[Tensor, " k"] | None = None
    ) -> Float[Tensor, "p q"]:
        """Return the minimizer nearest to `start`, or with a filter a part of the way to it."""
        f = torch.ones_like(self.S) if f is None else f
        # [p, k]: in the coordinates of V
        way = self.Y * (f / self.S) - (start @ self.V) * f
        solution: Tensor = start + way @ self.V.T
        return solution

    def lifted(
        self, space: Core, start: Float[Tensor, "p q"], f: Float[Tensor, " k"], cut: Cut
    ) -> Lifted:
        """Return the solution as an update, which is cut by what the filter makes of the sum.

        A part f of the way to the minimum is all the way to that of the sum plus a hold on the
        start, in which direction k counts λ / f. Directions that are left as the start has them
        count as the weakest of the others.
        """
        M = self.solution(start, f)
        if cut == "energy" or not f.any():
            return space.lift(M)
        counts = (self.eigenvalues / f)[f > 0]
        weakest = counts.min()
        V = self.V[:, f > 0]
        E = (V * (counts - weakest)) @ V.T
        E.diagonal().add_(weakest)
        return space.lift(M, Quadratic.one_sided(E, len(M)))


def norms(M: Float[Tensor, "task p q"]) -> Float[Tensor, "task 1 1"]:
    """Return the Frobenius norms, to divide by: 1 for what is zero."""
    norm: Tensor = torch.linalg.matrix_norm(M, keepdim=True)
    return norm.where(norm > 0, 1)


def start_of(M: Float[Tensor, "task p q"], which: Start) -> Float[Tensor, "p q"]:
    """Return the point where descent begins."""
    by = {"sum": 1.0, "mean": 1 / len(M), "zero": 0.0}[which]
    return M.sum(0) * by


def adam(space: Core, least: Interference, *, steps: int, lr: float, dtype: torch.dtype) -> Dense:
    """Run Adam from the sum of the updates, on the delta itself.

    It divides every entry of the gradient by that entry's size, so that it depends on the
    coordinates: run on the core it would be another iteration.
    """
    X = space.A.lift(least.V * least.S).T.to(dtype)  # [k, d_in]
    Y = space.B.lift(least.Y).to(dtype)  # [d_out, k]
    delta = space.lift(space.weighted.sum(0)).dense().to(dtype)
    mean, square = torch.zeros_like(delta), torch.zeros_like(delta)
    for step in range(1, steps + 1):
        gradient = 2 * (delta @ X.T - Y) @ X
        # PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8
        mean.lerp_(gradient, 0.1)
        square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        size = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
        delta.addcdiv_(mean, size, value=-lr / (1 - 0.9**step))
    return Dense(delta)
