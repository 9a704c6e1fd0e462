r"""ASWUDI: WUDI's minimum along the strongest directions, as many as the spectrum says.

    C = Σ_t Δ_t^T Δ_t / ‖Δ_t‖² = V diag(λ) V^T,   G = Σ_t Δ_t Δ_t^T Δ_t / ‖Δ_t‖²
    Δ = Δ_0 - Δ_0 V_K V_K^T + G V_K diag(1 / λ_K) V_K^T         Δ_0 the sum, the mean or zero

SWUDI without its two numbers: the first K directions are resolved, the others left as Δ_0 has them.
With s = √λ, K is one of

    participation     (Σ s)² / Σ s²       how many equal values would be as spread out as these
    entropy           exp(-Σ p log p)     the same by entropy, p = λ / Σ λ
    gavish-donoho     number of s above 2.858 times their median, the optimal hard threshold for a
                      square matrix in noise of unknown level; at least one

rounded up. The paper takes the first for vision and for LoRA, the last for language models.

Values of directions that the updates do not have are left out. The released code lets each of the
d_in count as √1e-8; with gavish-donoho their median is then that number, and every direction of a
low-rank update is resolved. Its constant also differs from Gavish and Donoho's, which is used here.
Low-rank updates are no noisy square matrix, so gavish-donoho is a rule of thumb on them.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: ASWUDI, arXiv:2606.07289; Gavish and Donoho, IEEE Trans. Inf. Theory 2014, arXiv:1305.5870.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from ...linalg import core
from .._registry import Cut, method
from ._interference import Interference, Start, norms, start_of

Filter = Literal["participation", "gavish-donoho", "entropy"]


@method(
    "aswudi",
    paper="ASWUDI, arXiv:2606.07289",
    checked="the dense definition",
    gauge_invariant=True,
)
def aswudi(
    stack: Stack,
    *,
    filter: Filter = "participation",
    start: Start = "sum",
    cut: Cut = "energy",
) -> Update:
    """Merge by resolving interference along as many directions as matter.

    Args:
        stack: The module's updates.
        filter: Rule for the number of directions.
        start: The point whose part in the other directions stays.
        cut: At a lower rank, keep the most energy or the least objective.
    """
    space = core(stack)
    M = space.weighted
    least = Interference.of(M, M / norms(M))
    f = torch.zeros_like(least.S)
    f[: _effective_rank(least.S, filter)] = 1
    return least.lifted(space, start_of(M, start), f, cut)


def _effective_rank(s: Float[Tensor, " k"], by: Filter) -> int:
    """Return K, the number of singular values that matter."""
    if not len(s):
        return 0
    if by == "gavish-donoho":
        return max(int((s > 2.858 * s.quantile(0.5)).sum()), 1)
    if by == "participation":
        number = s.sum().square() / s.square().sum()
    else:
        p = s.square() / s.square().sum()
        number = torch.exp(-(p * p.log()).sum())
    return math.ceil(float(number))
