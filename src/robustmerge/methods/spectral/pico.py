r"""Pico: shrink the output directions that adapters share, sum, and give the sum their mean norm.

    U Σ = svd([w_1 Δ_1 ... w_T Δ_T])         flavor delta; [w_1 B_1 ... w_T B_T] with flavor paper
    c_k = σ_k² / Σ_l σ_l²                    the share of direction k in all there is
    α_k = 1 / (1 + (T - 1) c_k)
    Δ'_t = U diag(α) U^T Δ_t
    Δ = s Σ_t w_t Δ'_t                       s such that |Δ| = mean_t |w_t Δ_t|

Separately trained adapters read different inputs (their A's are nearly orthogonal) but write to the
same few outputs, where a sum counts them several times over. A direction that all energy is in is
divided by T, one that has little of it is left as it is.

The paper takes the directions of the B's alone. How long a B is, and which of its columns are long,
is up to how an update is split into B and A: a tool that balances the factors, or one that keeps A
orthonormal, changes them. So the default takes the directions of the deltas, as B A A^T B^T instead
of B B^T. The two agree where the rows of A are about orthonormal and alike in length, which random
initialization makes them and training hardly changes. Flavor paper uses the B's of the files,
scalings folded in.

T counts the updates that are not zero, so that an absent adapter changes nothing. Where the sum
cancels out up to rounding, it stays zero.

Cost: O((d_out + d_in) R^2) for the sum of ranks R, at most which the rank of the result is.

Source: Pico, arXiv:2604.16826, with its released code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Stack, Update
from ...linalg import ROUNDING, Core, core
from .._registry import When, method

Flavor = Literal["delta", "paper"]


@method(
    "pico",
    paper="Pico, arXiv:2604.16826",
    gauge_invariant=When("flavor", "delta"),
    checked="a worked example; the dense definition",
    cautions={
        When("flavor", "paper"): "it looks at B alone, which changes with how an update is split "
        "into B and A; adapters written by different tools do not compare"
    },
)
def pico(stack: Stack, *, flavor: Flavor = "delta") -> Update:
    """Sum calibrated updates.

    Args:
        stack: The module's updates.
        flavor: Take the directions of the deltas, or as published those of the B's.
    """
    space = core(stack)
    norms = space.weighted.flatten(1).norm(dim=1)
    total = _calibration(stack, space, flavor) @ space.weighted.sum(0)
    if total.norm() <= ROUNDING * norms.sum():
        return space.lift(torch.zeros_like(total))
    return space.lift(total * (norms.sum() / (norms > 0).sum() / total.norm()))


def calibrate(stack: Stack, flavor: Flavor = "delta") -> Stack:
    """Return the stack with shared output directions shrunk: same A's, calibrated B's.

    Weights decide which directions count as shared, and are still to be applied afterwards.

    Args:
        stack: The module's updates.
        flavor: Take the directions of the deltas, or as published those of the B's.
    """
    space = core(stack)
    B = _calibration(stack, space, flavor) @ space.B.R  # [p, R]
    parts = torch.split(B, list(stack.ranks), dim=1)
    factors = tuple(
        Factors(f.A, space.B.lift(part).to(f.B.dtype))
        for f, part in zip(stack.factors, parts, strict=True)
    )
    return replace(stack, factors=factors)


def _calibration(stack: Stack, space: Core, flavor: Flavor) -> Float[Tensor, "p p"]:
    """Return the map U diag(α) U^T in core space, and the identity on what no direction reaches."""
    X = torch.cat([*space.weighted], dim=1)  # [p, task·q]
    if flavor == "paper":
        ranks = torch.tensor(stack.ranks, device=X.device)
        X = space.B.R * space.weights.repeat_interleave(ranks)  # [p, R]
    U, S, _ = torch.linalg.svd(X, full_matrices=False)
    energy = S.square()
    share = energy / energy.sum().where(energy.sum() > 0, 1)
    others = int((space.weighted.flatten(1).norm(dim=1) > 0).sum()) - 1
    shrunk = 1 / (1 + max(others, 0) * share)
    identity = torch.eye(len(X), dtype=X.dtype, device=X.device)
    moved: Tensor = identity + U * (shrunk - 1) @ U.T
    return moved
