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

from ...factors import Factors, Stack, weighted_sum
from ...linalg import concat
from .._registry import Density, method
from ._prune import prune_factors
from .robustmerge import complementary_scaling


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
    pruned = [prune_factors(f, density) for f in stack.factors]
    S = complementary_scaling(stack.factors, pruned, clamp=0.0)  # [task, rank]
    if normalize:
        S = (S / weighted_sum(S.unbind(), [1.0] * len(S))).where(S > 0, 0)
    scaled = [Factors(f.A, gain * f.B * s[: f.rank]) for f, s in zip(pruned, S, strict=True)]
    return concat(Stack.of(scaled, stack.weights))  # equation 5
