r"""Iso-C: sum the updates and make all directions of the sum equally strong.

    U S V^T = Σ_t w_t Δ_t                      singular value decomposition, k directions
    Δ = mean(S_1, ..., S_k) · U V^T

A sum has few strong directions, those that adapters share, and a task whose own are weak is lost.
With a flat spectrum every direction of the sum counts the same.

The paper takes the mean over min(d_out, d_in) singular values, which suits full fine-tuning. The
sum of low-rank updates has at most R of them, R being the sum of the ranks, and the others are
rounding: their directions are arbitrary, and lifted to the mean, while the mean falls (on random
updates of rank 12 of 40 from 14.2 to 4.3). So k is the rank of the sum, singular values above 1e-7
of the largest being counted (flavor rank); flavor paper is the published one, on full deltas.

Even so, weak directions of trained adapters are lifted to the mean, and on multimodal adapters that
can cost more than it gains. A flat spectrum has no leading directions, either: cutting the result
to a smaller rank keeps arbitrary ones, so give it the full rank.

Cost: O((d_out + d_in) R^2); with flavor paper a decomposition of a full delta.

Source: Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Dense, Stack, Update
from ...linalg import concat, core, numerical_rank
from .._registry import When, method


@method(
    "iso-c",
    paper="Marczak et al., ICML 2025, arXiv:2502.04959",
    checked="the worked example; the dense definition",
    gauge_invariant=When("flavor", "rank"),
    order_invariant=When("flavor", "rank"),
    stable=When("flavor", "rank"),
    cautions={
        When("flavor", "paper"): "it reaches past the adapters' ranks, into directions that are "
        "rounding, and makes them as strong as the others; the result is arbitrary there"
    },
)
def iso_c(stack: Stack, *, flavor: Literal["rank", "paper"] = "rank") -> Update:
    """Flatten the spectrum of the sum.

    Args:
        stack: The module's updates.
        flavor: Directions up to the rank of the sum, or min(d_out, d_in) of them as published.
    """
    if flavor == "paper":
        return Dense(_flatten(concat(stack).dense(), every=True))
    space = core(stack)
    return space.lift(_flatten(space.weighted.sum(0), every=False))


def _flatten(total: Float[Tensor, "m n"], *, every: bool) -> Float[Tensor, "m n"]:
    U, S, Vh = torch.linalg.svd(total, full_matrices=False)
    # At least one direction, so that the mean of a zero update is a number.
    k = len(S) if every else max(numerical_rank(S), 1)
    flat: Tensor = S[:k].mean() * (U[:, :k] @ Vh[:k])
    return flat
