r"""Average: the weighted mean of A and of B, each for itself.

    A = Σ_t w_t A_t / Σ_t w_t        B = Σ_t w_t B_t / Σ_t w_t

The "weight average" baseline of several papers. It depends on the gauge: B_t G^-1 and G A_t are the
same update and give another result. Each adapter's own update gets weight 1/T^2, and cross terms
B_t A_u the rest, so it means something only where all A are nearly equal (one initialization,
little drift; `robustmerge show` reports it). For the mean of the updates take task-arithmetic with
weights 1/T.

Source: Wortsman et al., Model soups, ICML 2022, arXiv:2203.05482, applied to the factors.
"""

from __future__ import annotations

from ...factors import Factors, Stack, weighted_sum
from .._registry import method


@method(
    "average",
    paper="Wortsman et al., ICML 2022, arXiv:2203.05482 (on factors)",
    gauge_invariant=False,
    checked="the dense definition",
)
def average(stack: Stack) -> Factors:
    """Average the factors."""
    rank = max(stack.ranks)
    share, padded = stack.share(), [f.pad(rank) for f in stack.factors]
    return Factors(
        weighted_sum([f.A for f in padded], share), weighted_sum([f.B for f in padded], share)
    )
