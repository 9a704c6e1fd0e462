r"""RobustMerge as the paper writes it: a sum of products, nothing mixed between adapters.

    Â_t, B̂_t = the largest entries of A_t and B_t
    S_t[i] = Σ_j |A_t[i,j]| / Σ_j |Â_t[i,j]|         S̃_t = S_t / Σ_u S_u
    Δ = λ Σ_t w_t B̂_t diag(S̃_t) Â_t

Exact at the sum of the ranks, and cut to any smaller rank in core space. The paper's text has no
clamp and λ = 2; the released code computes a product of sums instead, which is the method
`robustmerge`.

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159, Equation 5 and Algorithm 1.
"""

from __future__ import annotations

import torch

from ...factors import Factors, Stack
from ...linalg import concat
from .._registry import Density, method
from .robustmerge import losses, prune_factors


@method(
    "robustmerge-paper",
    paper="Zeng et al., NeurIPS 2025, arXiv:2502.17159 (Equation 5)",
    gauge_invariant=False,
    checked="the definition, written densely",
)
def robustmerge_paper(
    stack: Stack, *, density: Density = 0.2, gain: float = 2.0, normalize: bool = True
) -> Factors:
    """Sum the pruned and scaled updates.

    Args:
        stack: The module's updates.
        density: Share of each factor's entries that is kept, largest first.
        gain: λ, multiplies the sum.
        normalize: Divide the scales by their sum over adapters.
    """
    kept = [prune_factors(f, density) for f in stack.factors]
    S = [losses(f.A, k.A) for f, k in zip(stack.factors, kept, strict=True)]
    if normalize:
        total = torch.zeros(max(stack.ranks), dtype=S[0].dtype, device=S[0].device)
        for s in S:
            total[: len(s)] += s
        S = [(s / total[: len(s)]).where(s > 0, 0) for s in S]
    scaled = [Factors(k.A, gain * k.B * s) for k, s in zip(kept, S, strict=True)]
    return concat(Stack.of(scaled, stack.weights))
