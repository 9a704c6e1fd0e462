r"""DO-Merging: make the A's more orthogonal, then average directions and magnitudes apart.

    δ = argmin Σ_{t≠u} |(A_t + δ_t)(A_u + δ_u)^T|² + Σ_t |δ_t|²          some steps of Adam
    Δ_t = w_t B_t (A_t + δ_t),   α_t = the norms of its columns
    Δ = 1/T² Σ_t Δ_t ⊙ (Σ_u α_u / α_t)

Adapters that read the same inputs disturb one another; δ turns them apart by a little. Then every
column of the result is the mean of the adapters' unit columns times the mean of their norms, so
that an adapter with a small update counts as much for the direction as one with a large one.

The norm of A is up to how an update is split into B and A, and δ weighs it against 1. So by default
(flavor delta) B_t A_t is U_t S_t V_t^T and A_t = V_t^T, orthonormal rows, which is about what
training leaves of a random initialization (rows of norm 0.6); the objective then is the sum of
squared cosines, which the default steps bring close to its minimum. Flavor paper takes the A's as
they are in the files. Where those are long and two of them are nearly equal, they part in a
direction that rounding decides.

The objective and its gradient see A only by products with other A's, so that δ stays in the rows
that the adapters span, and needs R coordinates for a sum of ranks R instead of d_in. Adam is not
blind to the choice of coordinates: each gets steps of its own. Flavor delta takes the principal
axes of all deltas one below the other, which depend on the deltas only; flavor paper the inputs
themselves, as published. Gradients are written out, in float64.

A column that is zero has no direction: it adds nothing, and its adapter counts in T all the same. A
norm below 1e-7 of the adapter's largest is rounding and counts as zero. Weights multiply updates,
hence magnitudes; the direction of an adapter has the same share at any weight but 0.

The authors' code was not to be found; this follows a description of it. The step size is not known,
and the changes that the paper also makes to the B's are left out.

Cost: O((d_out + d_in) R^2), and R^3 per step of Adam, with flavor paper R^2 d_in. The rank of the
result is the sum of ranks.

Source: DO-Merging, arXiv:2505.15875, sections on orthogonalization and decoupling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Stack
from ...linalg import ROUNDING, compact_svd, core
from .._registry import When, method

Flavor = Literal["delta", "paper"]


@method(
    "do-merging",
    paper="DO-Merging, arXiv:2505.15875",
    gauge_invariant=When("flavor", "delta"),
    stable=When("flavor", "delta"),
    checked="the dense definition without steps; the objective falls",
    cautions={
        When("flavor", "paper"): "it orthogonalizes the A's of the files, so how they are split "
        "matters; where two A's are long and nearly equal, rounding decides how they part"
    },
)
def do_merging(
    stack: Stack,
    *,
    flavor: Flavor = "delta",
    steps: Annotated[int, Interval(ge=0)] = 100,
    rate: Annotated[float, Interval(gt=0)] = 0.01,
) -> Factors:
    """Average directions and magnitudes of updates that were turned apart.

    Args:
        stack: The module's updates.
        flavor: Orthogonalize the right singular directions of the deltas, or as published the A's.
        steps: Steps of Adam; 0 leaves the updates as they are.
        rate: Size of a step.
    """
    if flavor == "paper":
        A = torch.cat([f.A for f in stack.factors]).double()
        A = orthogonalize(A, stack.ranks, steps, rate)
        parts = [f.B.double() * w for f, w in zip(stack.factors, stack.weights, strict=True)]
        return _average_columns(A, torch.cat(parts, dim=1), parts)
    space = core(stack)
    parts, rows = [], []
    for M in space.weighted:
        U, S, Vh = compact_svd(M)
        parts.append(U * S)  # [p, r_t]
        rows.append(Vh)
    axes = compact_svd(torch.cat([*space.weighted]))[2].T  # [q, k]: of all deltas, stacked
    A = orthogonalize(torch.cat(rows) @ axes, [len(row) for row in rows], steps, rate)
    return _average_columns(
        space.A.lift(axes @ A.T).T, space.B.lift(torch.cat(parts, dim=1)), parts
    )


def orthogonalize(
    A: Float[Tensor, "sum_of_ranks n"], ranks: Sequence[int], steps: int, rate: float
) -> Float[Tensor, "sum_of_ranks n"]:
    """Return the A's one below the other, after some steps of Adam on the objective."""
    owner = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks)).to(A.device)
    own = owner[:, None] == owner
    moved, mean, spread = A, torch.zeros_like(A), torch.zeros_like(A)
    for step in range(1, steps + 1):
        overlap = (moved @ moved.T).masked_fill(own, 0)
        # 4 and not 2: the objective has every pair twice, as (t, u) and as (u, t).
        gradient = 4 * overlap @ moved + 2 * (moved - A)
        # Adam with betas 0.9 and 0.999, epsilon 1e-8
        mean = 0.9 * mean + 0.1 * gradient
        spread = 0.999 * spread + 0.001 * gradient.square()
        size = (spread / (1 - 0.999**step)).sqrt() + 1e-8
        moved = moved - rate / (1 - 0.9**step) * mean / size
    return moved


def _average_columns(
    A: Float[Tensor, "sum_of_ranks d_in"],
    B: Float[Tensor, "d_out sum_of_ranks"],
    parts: Sequence[Float[Tensor, "d _"]],
) -> Factors:
    """Return mean direction times mean magnitude, column by column.

    Args:
        A: All A, one below the other.
        B: All B, side by side.
        parts: Each B in any orthonormal coordinates.
    """
    rows = torch.split(A, [part.shape[1] for part in parts])
    columns = [torch.linalg.qr(part, mode="r").R @ a for part, a in zip(parts, rows, strict=True)]
    norms = torch.stack([column.norm(dim=0) for column in columns])  # α: [task, d_in]
    nonzero = norms > ROUNDING * norms.amax(1, keepdim=True)
    lifts = (norms.sum(0) / norms).where(nonzero, 0) / len(parts) ** 2
    scaled = [a * lift for a, lift in zip(rows, lifts, strict=True)]
    return Factors(torch.cat(scaled), B)
