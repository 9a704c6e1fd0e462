r"""Output fit: the sum of the updates whose outputs are nearest to each adapter's, on its inputs.

    minimize over c  Σ_t w_t E_t ‖(Σ_s c_s Δ_s - Δ_t) x‖² / E_t ‖Δ_t x‖²     E_t: over t's inputs
    F_t[s, u] = E_t (Δ_s x)^T Δ_u x = tr(B_s G_t[s, u] B_u^T)                T x T for each task
    H = Σ_t w_t F_t / F_t[t, t],   h_s = Σ_t w_t F_t[t, s] / F_t[t, t]
    c = H^+ h;   with sign nonnegative the least c >= 0 instead
    Δ = Σ_s c_s Δ_s

This is the objective of RegMean with T unknowns instead of a matrix: coefficients for
`task-arithmetic` without a search, by inner products of outputs that the statistics contain. G_t is
the second moment of z = A x for the A of all adapters on task t's inputs (`gram`), and G_t[s, u]
its block of adapters s and u. Where adapters answer to each other's inputs, c is small; where they
do not, it is 1. Nothing of the base is needed, and nothing depends on how an update is split.

Every task's error is divided by the size of its own outputs, which makes tasks equal and the number
of their tokens irrelevant; whether the paper does is not known here. It fits each layer on the
outputs of those before as they are merged: `robustmerge collect --through merged`. Weights say how
much a task counts: all of them times two is no change. With scope model one coefficient serves all
modules of an adapter; then F_t is the sum over the modules. Of combinations that the inputs do not
show the least c is taken.

Cost: O(d_out R^2 + T R^2) for the sum of ranks R; with scope model in a pass of its own.

Source: arXiv:2605.29101 (abstract: a convex quadratic program per layer); the closed form from
collected moments: own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import EachModule, Factors, Stack
from ...linalg import concat
from .._registry import method
from ..entrywise._survey import check_surveyed
from ..sums._norms import Scope
from ._statistics import importances, statistic_of

Moments = Float[Tensor, "task task task"]

_UNSEEN = 1e-10
"""Share of the largest eigenvalue of H below which a combination of adapters is not seen."""


def survey(each: EachModule, parameters: Sequence[Mapping[str, Any]]) -> Moments | None:
    """Sum the moments over all modules, where scope is model."""
    if all(settings["scope"] != "model" for settings in parameters):
        return None
    return torch.stack(list(each(output_moments))).sum(0)


@method(
    "output-fit",
    paper="arXiv:2605.29101 (objective); closed form: own",
    checked="the worked example; least squares on the outputs themselves",
    gauge_invariant=True,
    needs=("gram",),
    survey=survey,
)
def output_fit(
    stack: Stack,
    *,
    scope: Scope = "module",
    sign: Literal["free", "nonnegative"] = "free",
    surveyed: Moments | None = None,
) -> Factors:
    """Sum the updates with coefficients that fit every adapter's outputs.

    Args:
        stack: The module's updates.
        scope: Coefficients for every module, or the same in all modules.
        sign: Whether coefficients may be negative.
        surveyed: Moments of outputs, summed over all modules.
    """
    check_surveyed(stack, surveyed, scope == "model", "scope=model")
    moments = surveyed if surveyed is not None and scope == "model" else output_moments(stack)
    H, h = _equations(moments, importances(stack))
    c = _free(H, h) if sign == "free" else _nonnegative(H, h)
    return concat(stack.reweighted(tuple(c.tolist())))


def output_moments(stack: Stack) -> Moments:
    """Return F: for every task's inputs the inner products of all adapters' outputs."""
    R, ranks = sum(stack.ranks), list(stack.ranks)
    B = torch.cat([f.B for f in stack.factors], dim=1).double()
    products = B.T @ B  # [R, R]
    moments = []
    for t in range(len(stack)):
        terms = products * statistic_of(stack, t, "gram", R, R)
        blocks = [torch.split(rows, ranks, dim=1) for rows in torch.split(terms, ranks)]
        moments.append(torch.stack([torch.stack([b.sum() for b in row]) for row in blocks]))
    return torch.stack(moments)


def _equations(
    moments: Moments, importance: Sequence[float]
) -> tuple[Float[Tensor, "task task"], Float[Tensor, " task"]]:
    """Return H and h; a task without outputs of its own has no say."""
    own = moments.diagonal(dim1=1, dim2=2).diagonal()  # F_t[t, t]
    shares = (moments.new_tensor(importance) / own).where(own > 0, 0)
    tasks = torch.arange(len(own))
    return torch.einsum("t,tsu->su", shares, moments), shares @ moments[tasks, tasks]


def _free(H: Float[Tensor, "n n"], h: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    c: Tensor = torch.linalg.pinv(H, rtol=_UNSEEN, hermitian=True) @ h
    return c


def _nonnegative(H: Float[Tensor, "n n"], h: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Minimize c^T H c - 2 h^T c over c >= 0 (Lawson and Hanson's active sets)."""
    c, free = torch.zeros_like(h), torch.zeros_like(h, dtype=torch.bool)
    enough = _UNSEEN * h.abs().max()
    for _ in range(10 * len(h)):
        slope = (h - H @ c).where(~free, -torch.inf)
        if slope.max() <= enough:
            break
        free[slope.argmax()] = True
        while (target := _restricted(H, h, free))[free].min() <= 0:
            # Go as far as the first coefficient that would turn negative, and fix it at 0.
            crossing = free & (target <= 0)
            step = (c / (c - target))[crossing].min()
            c = c + step * (target - c)
            free &= c > _UNSEEN * c.max()
            c = c.where(free, 0)
            if not free.any():
                return c
        c = target
    return c


def _restricted(
    H: Float[Tensor, "n n"], h: Float[Tensor, " n"], free: Tensor
) -> Float[Tensor, " n"]:
    """Return the minimizer with all other coefficients at 0."""
    c = torch.zeros_like(h)
    c[free] = _free(H[free][:, free], h[free])
    return c
