r"""Inverse norms (NAN): weigh every adapter by one over its norm.

    λ_t = (1 / ‖τ_t‖) / Σ_u (1 / ‖τ_u‖)        τ: all updates of an adapter, as one vector
    Δ = Σ_t λ_t w_t Δ_t

Every adapter brings an update of one and the same norm, so that those trained long or fast do not
drown the others. The paper finds by least squares that a model's coefficient should grow with the
information in it, and takes the inverse norm for that. `metagpt` says the opposite.

Coefficients are rescaled to sum to one, a weighted mean; whichever factor the paper puts on top is
not known here, and `scale` sets it. Norms are of the updates without weights, over the whole model,
or in every module for itself (scope module), which makes all adapters equally strong in each. An
adapter whose norm is zero has coefficient zero, and the others sum to one.

Cost: O((d_out + d_in) r^2) per adapter of rank r, in a pass of its own with scope model.

Source: Si et al., NAN, arXiv:2505.16148.
"""

from __future__ import annotations

from ...factors import Factors, Stack
from ...linalg import concat
from .._registry import method
from ._norms import Scope, Squares, squares_within, survey


@method(
    "inverse-norm",
    paper="Si et al., arXiv:2505.16148",
    gauge_invariant=True,
    checked="the dense definition",
    survey=survey,
)
def inverse_norm(
    stack: Stack, *, scope: Scope = "model", surveyed: Squares | None = None
) -> Factors:
    """Sum with coefficients proportional to inverse norms.

    Args:
        stack: The module's updates.
        scope: Norms over the whole model or in this module.
        surveyed: Squared norms over the whole model.
    """
    squares = squares_within(scope, stack, surveyed)
    inverse = [square**-0.5 if square > 0 else 0.0 for square in squares]
    total = sum(inverse) or 1.0
    pairs = zip(stack.weights, inverse, strict=True)
    return concat(stack.reweighted(tuple(w * i / total for w, i in pairs)))
