r"""CART: the mean, and the leading directions of what every adapter differs from it by.

    Δ̄ = Σ_t w_t Δ_t / Σ_t w_t
    Δ = Δ̄ + λ Σ_t w_t cut_k(Δ_t - Δ̄)          cut_k: the best approximation of rank k

Seen from the mean, updates overlap less than seen from the base, and few directions hold what is
each task's own. The mean is kept whole; cutting concerns the differences only.

k is a share of R, rounded up. R is the sum of the adapters' ranks here, singular values above 1e-7
of the largest being counted: a difference has up to R directions, so that 0.04 R out of them is the
share of the published code in core space, whose matrices are R x R. (On full fine-tuning the paper
takes 8 % of min(d_out, d_in), which for low-rank updates is more than there is.) λ multiplies a sum
of T differences, hence its small default. Weights multiply the differences as they do updates.

Cost: O((d_out + d_in) R^2), and T decompositions of R x R.

Source: Choi et al., Revisiting Weight Averaging for Model Merging, arXiv:2412.12153; k
and λ as in the code of Panariello et al., Core Space, NeurIPS 2025, arXiv:2509.17786.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval

from ...factors import Lifted, Stack
from ...linalg import core, numerical_rank
from .._registry import Density, method
from ._cut import at_least


@method(
    "cart",
    paper="Choi et al., arXiv:2412.12153",
    gauge_invariant=True,
    checked="the dense definition",
)
def cart(
    stack: Stack, *, keep: Density = 0.04, strength: Annotated[float, Interval(ge=0)] = 0.1
) -> Lifted:
    """Add the leading differences to the mean.

    Args:
        stack: The module's updates.
        keep: Directions kept of each difference, as a share of the sum of the adapters' ranks.
        strength: λ, the coefficient of the differences.
    """
    space = core(stack)
    k = at_least(keep, sum(numerical_rank(S) for S in torch.linalg.svdvals(space.M)))
    mean = torch.tensordot(space.M.new_tensor(stack.share()), space.M, dims=1)
    # [task, p, k], [task, k], [task, k, q]
    U, S, Vh = torch.linalg.svd(space.M - mean, full_matrices=False)
    cut = (U[..., :k] * S[:, None, :k]) @ Vh[:, :k]
    return space.lift(mean + strength * torch.tensordot(space.weights, cut, dims=1))
