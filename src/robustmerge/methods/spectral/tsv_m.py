r"""TSV-Merging: make the adapters' singular directions orthogonal to one another, and sum.

    U_t S_t V_t^T = w_t Δ_t                  singular value decomposition, r_t directions
    U = [U_1 ... U_T],  V = [V_1 ... V_T],  S = diag(S_1, ..., S_T)
    Δ = polar(U) S polar(V)^T                polar(P E Q^T) = P Q^T

Adapters interfere where their singular directions overlap. polar gives the orthonormal columns that
are nearest to all of them at once, so that no direction of an adapter is read or written by
another, and singular values stay as they were.

The paper keeps min(d_out, d_in) / T directions of every adapter, which suits full fine-tuning. A
low-rank update has fewer, and the others are rounding: on such updates the published version
changes by 81 % when its input changes by 1e-13. So every adapter brings as many directions as it
has (flavor rank); flavor paper is the published one, computed on the full deltas.

Cost: O((d_out + d_in) R^2) for the sum of ranks R; with flavor paper T decompositions of full
deltas.

Source: Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081, section 4.2.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Dense, Stack, Update
from ...linalg import core, numerical_rank, polar
from .._registry import When, method


@method(
    "tsv-m",
    paper="Gargiulo et al., CVPR 2025, arXiv:2412.00081",
    checked="the worked example; the dense definition",
    gauge_invariant=When("flavor", "rank"),
    stable=When("flavor", "rank"),
    cautions={
        When("flavor", "paper"): "it reaches past the adapters' ranks, into directions that are "
        "rounding; the result is arbitrary there"
    },
)
def tsv_m(stack: Stack, *, flavor: Literal["rank", "paper"] = "rank") -> Update:
    """Merge by orthogonal singular directions.

    Args:
        stack: The module's updates.
        flavor: Each adapter's own rank, or min(d_out, d_in) / T as published.
    """
    if flavor == "paper":
        return Dense(_sum_orthogonal(stack.dense(), max(min(stack.shape) // len(stack), 1)))
    space = core(stack)
    return space.lift(_sum_orthogonal(space.weighted))


def _sum_orthogonal(
    deltas: Float[Tensor, "task m n"], most: int | None = None
) -> Float[Tensor, "m n"]:
    parts = []
    for delta in deltas:
        U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
        k = numerical_rank(S) if most is None else most
        parts.append((U[:, :k], S[:k], Vh[:k].T))
    # [m, R], [R], [n, R]: all adapters' directions side by side
    U, S, V = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
    merged: Tensor = (polar(U) * S) @ polar(V).T
    return merged
