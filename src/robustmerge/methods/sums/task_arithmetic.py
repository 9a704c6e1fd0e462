r"""Task arithmetic: the weighted sum of the updates, exactly.

    Δ = Σ_t w_t Δ_t

The factors are concatenated, so the sum is exact at the sum of the ranks; any smaller rank is the
best approximation of it (Eckart-Young), found in core space. With weights 1/T it is the mean.

Source: Ilharco et al., Editing models with task arithmetic, ICLR 2023, arXiv:2212.04089.
"""

from __future__ import annotations

from ...factors import Factors, Stack
from ...linalg import concat
from .._registry import method


@method(
    "task-arithmetic",
    paper="Ilharco et al., ICLR 2023, arXiv:2212.04089",
    gauge_invariant=True,
    checked="PEFT's combination types cat and svd; the dense sum",
)
def task_arithmetic(stack: Stack) -> Factors:
    """Sum the updates."""
    return concat(stack)
