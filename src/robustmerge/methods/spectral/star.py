r"""STAR: cut every adapter to its leading directions, restore its nuclear norm, and average.

    U S V^T = Δ_t                              singular value decomposition
    k = smallest with Σ_{i≤k} S_i ≥ η Σ_i S_i
    Δ̂_t = (Σ_i S_i / Σ_{i≤k} S_i) · U_k S_k V_k^T
    Δ = Σ_t w_t Δ̂_t / Σ_t w_t

Small directions conflict more than they help, so each adapter keeps those that make up the share η
of its nuclear norm (the sum of its singular values); as many as its spectrum asks for, few where it
falls quickly. What is kept is made as strong as the whole was. At least one direction is kept.

The authors' code can use a randomized decomposition; this one is exact.

Cost: O((d_out + d_in) r^2) per adapter of rank r.

Source: Lee et al., STAR, NAACL 2025, arXiv:2502.10339.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Stack
from ...linalg import concat, svd
from .._registry import Density, method


@method(
    "star",
    paper="Lee et al., NAACL 2025, arXiv:2502.10339",
    gauge_invariant=True,
    checked="the worked example; the dense definition",
)
def star(stack: Stack, *, eta: Density = 0.4) -> Factors:
    """Average the adapters' leading directions at their full nuclear norm.

    Args:
        stack: The module's updates.
        eta: Share of each adapter's nuclear norm that the kept directions make up at least.
    """
    cut = tuple(_truncate(f, eta) for f in stack.factors)
    return concat(replace(stack, factors=cut, weights=stack.share()))


def _truncate(update: Factors, eta: float) -> Factors:
    decomposed = svd(update)
    k = _smallest_rank(decomposed.S, eta)
    kept, total = float(decomposed.S[:k].sum()), float(decomposed.S.sum())
    return decomposed.cut(k)[0].scaled(total / kept if kept > 0 else 1.0)


def _smallest_rank(S: Float[Tensor, " n"], eta: float) -> int:
    # Rounding in the sum must not ask for one direction more than there are.
    wanted = eta * S.sum() * (1 - 1e-12)
    return int(torch.sum(S.cumsum(0) < wanted)) + 1
