r"""Core posterior: each adapter decides in its own subspaces, a prior everywhere else.

    minimize Σ_t w_t ‖Ω_t (Δ - Δ_t) Γ_t‖² + τ ‖Δ - Δ_0‖²
    τ Δ + Σ_t w_t Ω_t Δ Γ_t = τ Δ_0 + Σ_t w_t Δ_t

Ω_t and Γ_t are the projectors on the output and the input directions of adapter t. It is the mode
of a Gaussian posterior: an adapter is a measurement of Δ along its own directions, as precise as
its weight, and says nothing about others; the prior is around Δ_0, the weighted mean, the weighted
sum or zero, with precision τ. Where one adapter alone has directions the result goes to it, where
several share them to their mean, and a large τ leaves Δ_0.

Small directions count as much as large ones: a projector does not see singular values, but for
those below 1e-7 of the largest, which are rounding. Weights are precisions, so all of them times
two is half the τ.

The published τ is not known here; at 1 the prior counts like one more adapter. The equations are
solved by conjugate gradients in core space, to 1e-13: eigenvalues lie between τ and τ + Σ_t w_t, so
that few steps do.

Cost: O((d_out + d_in) R^2) for the sum of ranks R, and T R^3 per step.

Source: `core_posterior` of the released code apanariello4/merge-and-rebase.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Lifted, Stack
from ...linalg import compact_svd, core
from ...quadratic import Quadratic
from .._registry import Cut, method
from ._statistics import importances

Matrix = Float[Tensor, "p q"]

_STEPS = 500
_STILL = 1e-13  # norm of the residual, relative to the right-hand side's


@method(
    "core-posterior",
    paper="merge-and-rebase (code), core_posterior",
    checked="the dense normal equations",
    gauge_invariant=True,
)
def core_posterior(
    stack: Stack,
    *,
    tau: Annotated[float, Interval(gt=0)] = 1.0,
    start: Literal["mean", "sum", "zero"] = "mean",
    cut: Cut = "energy",
) -> Lifted:
    """Merge by a two-sided least-squares problem.

    Args:
        stack: The module's updates.
        tau: Precision of the prior, where an adapter of weight 1 has precision 1.
        start: Around what the prior is: the weighted mean, the weighted sum, or zero.
        cut: At a lower rank, keep the most energy or the least objective.
    """
    space = core(stack)
    shares = space.M.new_tensor(importances(stack))
    total = torch.tensordot(space.weights, space.M, dims=1)
    prior = {"mean": torch.tensordot(shares, space.M, dims=1), "sum": total}.get(start, 0 * total)
    left = torch.stack([_projector(M) for M in space.M])  # Ω: [task, p, p]
    right = torch.stack([_projector(M.T) for M in space.M])  # Γ: [task, q, q]
    weights = space.weights[:, None, None]

    def apply(X: Matrix) -> Matrix:
        image: Tensor = tau * X + (weights * (left @ X @ right)).sum(0)
        return image

    M = _solve(apply, tau * prior + total, prior)
    if cut == "energy":
        return space.lift(M)
    prior_counts = tau * torch.eye(M.shape[1]).to(M)
    # Ω_t is a projector: its columns have the span of Ω_t, and Ω_t = Ω_t Ω_t^T.
    return space.lift(M, Quadratic(prior_counts, left, weights * right))


def _projector(M: Float[Tensor, "m n"]) -> Float[Tensor, "m m"]:
    """Return the projector on the directions that a matrix reaches."""
    U, _, _ = compact_svd(M)
    return U @ U.T


def _solve(apply: Callable[[Matrix], Matrix], wanted: Matrix, X: Matrix) -> Matrix:
    """Solve a symmetric positive definite map for `wanted` by conjugate gradients, from X."""
    rest = wanted - apply(X)
    way, size = rest, rest.square().sum()
    enough = _STILL**2 * wanted.square().sum()
    for _ in range(_STEPS):  # Hestenes and Stiefel's recurrence
        if size <= enough:
            break
        ahead = apply(way)
        length = size / (way * ahead).sum()
        X = X + length * way
        rest = rest - length * ahead
        before, size = size, rest.square().sum()
        way = rest + size / before * way
    return X
