r"""Compress-then-Merge: find the r input and r output directions that keep most, merge in them.

    X_t = w_t Δ_t scaled to norm β n_t + (1 - β) mean(n)           n_t = |w_t Δ_t|
    U, V = argmax Σ_t |U^T X_t V|²           d_out x r and d_in x r, orthonormal
    C_t = U^T w_t Δ_t V                      r x r; of the updates themselves, not of X_t
    Δ = gain U merge(C_1, ..., C_T) V^T

Merging first and cutting the result to rank r keeps the largest adapter. Here the directions are
chosen for all of them before anything is added up: β = 1 lets every adapter count by its energy,
β = 0 makes all equal. The result has rank r by construction, and `--rank` finds nothing to cut.

U and V come from the leading directions of all X_t side by side and one below the other (HOSVD),
then in turn each is the best for the other, until the energy kept grows by less than 1e-6 of
itself. It never falls.

Cores are merged by TIES (the largest entries of each, sign election, mean of those that agree; a
draw is 0), as a sum, by DARE-TIES (entries dropped at random and the rest divided by the density,
then the vote), or as in Iso-C (the sum with all singular values equal to their mean). TIES and DARE
look at single entries of C_t, which depend on the axes chosen within U and V, and the objective
leaves those open. Here they are the principal ones: the left singular directions of U^T X_t V side
by side, and the right ones of the same one below the other, which is where an alternation that has
converged ends up by itself. So the merge depends on the deltas only; where two singular values are
equal, which does not happen to trained adapters, their axes are arbitrary. Of the r x r entries
TIES keeps int(density r²), at least one, and those that equal the smallest kept one up to rounding.

What DARE-TIES drops is drawn for each module and position in the list, the same in every run.
Updates that are zero do not count in the mean norm.

Cost: O((d_out + d_in) R^2) for the sum of ranks R, and per round of the alternation two singular
value decompositions of R x T r.

Source: Compress-then-Merge, ICML 2026, arXiv:2606.03723; settings of the released code.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from ...linalg import compact_svd, core, numerical_rank
from .._registry import Density, When, method
from ._consensus import consensus, largest
from .ocap import flatten_spectrum

Inner = Literal["ties", "sum", "dare-ties", "iso"]
Sides = tuple[Float[Tensor, "p _"], Float[Tensor, "q _"]]
"""Orthonormal output and input directions."""

_TOLERANCE = 1e-6  # growth of the kept energy, relative
_ROUNDS = 500


@method(
    "ctm",
    paper="Compress-then-Merge, ICML 2026, arXiv:2606.03723",
    gauge_invariant=True,
    order_invariant=When("inner", "ties", "sum", "iso"),
    checked="the worked examples; the dense definition",
)
def ctm(
    stack: Stack,
    *,
    inner: Inner = "ties",
    rank: Annotated[int, Interval(ge=0)] = 0,
    beta: Annotated[float, Interval(ge=0, le=1)] = 0.25,
    density: Density = 0.25,
    gain: Annotated[float, Interval(gt=0)] = 0.75,
) -> Update:
    """Merge in the r input and output directions that keep most of all adapters.

    Args:
        stack: The module's updates.
        inner: Merge of the r x r cores.
        rank: r; 0 for the largest rank that an adapter has.
        beta: Part of an adapter's norm in the choice of directions: 1 for all of it, 0 for none.
        density: Share of a core's entries that TIES and DARE-TIES keep.
        gain: Multiplies the merged update.
    """
    space = core(stack)
    M = space.weighted
    r = rank or max(numerical_rank(torch.linalg.svdvals(m)) for m in M)
    X = balance_norms(M, beta)
    U, V = principal_axes(X, alternate(X, r))
    C = U.T @ M @ V  # [task, r, r]
    if inner == "ties":
        merged = consensus(largest(C, [int(density * C[0].numel())] * len(C)))
    elif inner == "dare-ties":
        merged = consensus(C * _mask(stack, C, density) / density)
    else:
        merged = C.sum(0) if inner == "sum" else flatten_spectrum(C.sum(0))
    return space.lift(gain * U @ merged @ V.T)


def balance_norms(M: Float[Tensor, "task p q"], beta: float) -> Float[Tensor, "task p q"]:
    """Return the updates with norms drawn together: β n_t + (1 - β) mean(n)."""
    norms = M.flatten(1).norm(dim=1)
    nonzero = norms > 0
    mean = norms.sum() / nonzero.sum().clamp_min(1)
    wanted = beta * norms + (1 - beta) * mean
    drawn: Tensor = M * (wanted / norms).where(nonzero, 0)[:, None, None]
    return drawn


def hosvd(X: Float[Tensor, "task p q"], r: int) -> Sides:
    """Return the r leading directions of all updates side by side, and one below the other."""
    return _leading(X, r), _leading(X.mT, r)


def alternate(X: Float[Tensor, "task p q"], r: int) -> Sides:
    """Return the r directions on either side that keep most energy together."""
    U, V = hosvd(X, r)
    energy = energy_kept(X, (U, V))
    for _ in range(_ROUNDS):
        V = _leading(X.mT @ U, r)
        U = _leading(X @ V, r)
        before, energy = energy, energy_kept(X, (U, V))
        if energy <= before * (1 + _TOLERANCE):
            break
    return U, V


def energy_kept(X: Float[Tensor, "task p q"], sides: Sides) -> float:
    """Return the energy Σ_t |U^T X_t V|² that is left in these directions."""
    U, V = sides
    return float((U.T @ X @ V).square().sum())


def principal_axes(X: Float[Tensor, "task p q"], sides: Sides) -> Sides:
    """Return the same spaces in their principal axes."""
    U, V = sides
    C = U.T @ X @ V  # [task, r, r]
    return U @ _leading(C, U.shape[1]), V @ _leading(C.mT, V.shape[1])


def _leading(X: Float[Tensor, "task m n"], r: int) -> Float[Tensor, "m _"]:
    """Return the leading left directions of all matrices side by side, r at most."""
    return compact_svd(torch.cat([*X], dim=1))[0][:, :r]


def _mask(stack: Stack, C: Float[Tensor, "task a b"], density: float) -> Float[Tensor, "task a b"]:
    """1 with probability `density`, otherwise 0; drawn on the CPU, whatever the device."""
    drawn = [
        torch.rand(C[0].shape, generator=stack.generator(0, "ctm", t)) < density
        for t in range(len(C))
    ]
    return torch.stack(drawn).to(C)
