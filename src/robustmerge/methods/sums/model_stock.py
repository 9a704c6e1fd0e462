r"""Model Stock: the mean, moved towards the base as far as the adapters disagree.

    c = mean cosine of the updates, over pairs
    t = T c / (1 + (T - 1) c)
    Δ = t · Σ_t w_t Δ_t / Σ_t w_t

The paper looks at runs that differ by chance: around the center they aim at they lie on a sphere,
at right angles to one another, and t Δ̄ is the point of the mean's line that is nearest to that
center. Its cosines are those of one task. Adapters of different tasks are nearly orthogonal, so
that t is near T c and the merge is small: raise `scale` then, or take another method.

Per module, as the paper's is per layer. Three things are defined beyond the paper. Weights p_t =
w_t / Σ w count as shares of the runs: T becomes 1 / Σ p_t^2 and the pairs count p_t p_u, which is
the same optimum and the paper's t for equal weights. Where c is negative there is no common center
and t is 0. One adapter is its own center, t = 1. An adapter that is zero in a module has cosine 0
with the others.

mergekit's model_stock is the same on deltas for equal weights, except that a negative c gives it a
negative t, and that it never divides by a product of norms less than 1e-6, so that updates with
norms below 1e-3 seem more orthogonal than they are.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: Jang et al., Model Stock, ECCV 2024, arXiv:2403.19522, the method for T models.
"""

from __future__ import annotations

import torch

from ...factors import Factors, Stack
from ...linalg import concat
from .._registry import method
from ._norms import gram, shares_of_directions, unit


@method(
    "model-stock",
    paper="Jang et al., ECCV 2024, arXiv:2403.19522",
    gauge_invariant=True,
    checked="the worked example; the dense definition; mergekit's model_stock",
)
def model_stock(stack: Stack) -> Factors:
    """Average, and shrink by the disagreement."""
    shares = shares_of_directions(stack)
    t = _ratio(stack, shares)
    return concat(stack.reweighted(tuple(t * p for p in shares)))


def _ratio(stack: Stack, shares: tuple[float, ...]) -> float:
    cosines = unit(gram(stack))
    p = cosines.new_tensor(shares)
    pairs = torch.outer(p, p).fill_diagonal_(0)
    if not pairs.any():
        return 1.0
    c = float((pairs * cosines).sum() / pairs.sum())
    # T c / (1 + (T - 1) c) with 1 / T = Σ p²
    return c / (c + (1 - c) * float(p.square().sum())) if c > 0 else 0.0
