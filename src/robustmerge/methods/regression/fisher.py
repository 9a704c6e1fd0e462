r"""Fisher merging: each entry of the factors is averaged by how much it matters to each adapter.

    A = Σ_t w_t F_t ⊙ A_t / Σ_t w_t F_t,  F_t = max(mean squared gradient of the log-likelihood
    B likewise                                     with respect to A_t, `floor`)

The Fisher information of an entry says how fast the adapter's likelihood falls when it is moved, so
this is the mode of the product of Gaussian posteriors with diagonal precision. Weights say how much
an adapter counts: all of them times two is no change.

It is the published formula, applied to the parameters that were trained: A and B, each for itself
and with the scaling folded into B. So, unlike all methods on deltas:

- The result depends on how an update is split in B A, and B A of the averages contains products of
  one adapter's B with another's A. It suits adapters of one initialization, which stay close.
- Entry i, j of one A is averaged with entry i, j of another: directions are matched by number.
- An adapter of lower rank, or without this module, has no entries there and does not count; as the
  others' mean is not diluted by zeros, one adapter with a module keeps it unchanged.

Cost: O((d_out + d_in) r T) for the largest rank r, which is the rank of the result.

Source: Matena and Raffel, Merging Models with Fisher-Weighted Averaging, NeurIPS 2022,
arXiv:2111.09832, section 3.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Stack, Update
from .._registry import method
from ._statistics import importances, statistic_of


@method(
    "fisher",
    paper="Matena and Raffel, NeurIPS 2022, arXiv:2111.09832",
    checked="the worked example; the formula entry by entry",
    gauge_invariant=False,
    needs=("fisher_A", "fisher_B"),
)
def fisher(stack: Stack, *, floor: Annotated[float, Interval(gt=0)] = 1e-6) -> Update:
    """Merge the factors by their Fisher information.

    Args:
        stack: The module's updates.
        floor: The least information that an entry is taken to have.
    """
    rank = max(stack.ranks)
    return Factors(_mean(stack, "A", rank, floor), _mean(stack, "B", rank, floor))


def _mean(
    stack: Stack, side: Literal["A", "B"], rank: int, floor: float
) -> Float[Tensor, "rows cols"]:
    total = weight = torch.zeros((), dtype=torch.float64)
    for t, (f, w) in enumerate(zip(stack.factors, importances(stack), strict=True)):
        x = f.A if side == "A" else f.B
        F = w * statistic_of(stack, t, f"fisher_{side}", *x.shape).clamp_min(floor)
        missing = rank - f.rank
        # Zero information beyond an adapter's rank: rows of A, columns of B.
        pad = (0, 0, 0, missing) if side == "A" else (0, missing)
        total = total + torch.nn.functional.pad(F * x, pad)
        weight = weight + torch.nn.functional.pad(F, pad)
    return total / weight.where(weight > 0, 1)
