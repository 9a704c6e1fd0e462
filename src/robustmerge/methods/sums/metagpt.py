r"""MetaGPT: weigh every adapter by its squared norm.

    λ_t = ‖τ_t‖^2 / Σ_u ‖τ_u‖^2                τ: all updates of an adapter, as one vector
    Δ = Σ_t λ_t w_t Δ_t

If the loss of every task is quadratic around its own model, and updates are orthogonal, these are
the coefficients of a sum that lose least on average: a task that moved far loses more when its
update is shrunk. The coefficients sum to one. The largest update dominates: of two that differ in
norm by a factor of 3, the smaller keeps a tenth.

Norms are of the updates without weights, over the whole model as in the paper, or in every module
for itself (scope module), so that an adapter's share differs from module to module. Modules that
are missing in an adapter add nothing to its norm.

Cost: O((d_out + d_in) r^2) per adapter of rank r, in a pass of its own with scope model.

Source: Zhou et al., MetaGPT, EMNLP 2024, arXiv:2406.11385, the closed-form coefficients.
"""

from __future__ import annotations

from ...factors import Factors, Stack
from ...linalg import concat
from .._registry import method
from ._norms import Scope, Squares, squares_within, survey


@method(
    "metagpt",
    paper="Zhou et al., EMNLP 2024, arXiv:2406.11385",
    gauge_invariant=True,
    checked="the dense definition",
    survey=survey,
)
def metagpt(stack: Stack, *, scope: Scope = "model", surveyed: Squares | None = None) -> Factors:
    """Sum with coefficients proportional to squared norms.

    Args:
        stack: The module's updates.
        scope: Norms over the whole model or in this module.
        surveyed: Squared norms over the whole model.
    """
    squares = squares_within(scope, stack, surveyed)
    total = sum(squares) or 1.0
    pairs = zip(stack.weights, squares, strict=True)
    return concat(stack.reweighted(tuple(w * square / total for w, square in pairs)))
