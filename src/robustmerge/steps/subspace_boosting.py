r"""Subspace Boosting: lift the small singular values of a merged update.

    U S V^T = the merged update
    S_k ← max(S_k, S_c)         c the first with S_1 + ... + S_c >= energy Σ_k S_k

In a sum of many updates a few shared directions take nearly all of the singular values, and what
single tasks need becomes small (rank collapse); lifting restores it. With
energy 0.75, singular values 4, 2, 1, 1 become 4, 2, 2, 2.

Energy is, as in the released code, the sum of singular values and not of their squares. Its
published value of 0.01 is meant for full fine-tuning: an update of at most 100 directions has 0.01
of it in the first one already, so that all of them would be as large as the first. The default here
lifts those after the first half. Only directions above rounding (1e-7 of the largest) are lifted: a
sum of low-rank updates has few of them; the released code lifts all that the matrix has, and for a
LoRA the others are noise. After this step a cut to a lower rank loses more.

Cost: a singular value decomposition of the merged update, O((d_out + d_in) R^2) for rank R where it
is low-rank.

Source: Skorobogat et al., Subspace-Boosted Model Merging, 2025, arXiv:2506.16506.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from ..factors import Stack, Update
from ..linalg import SVD, numerical_rank, svd
from ._registry import step


@step(
    "subspace-boosting",
    stage="calibrate",
    paper="Skorobogat et al., arXiv:2506.16506",
    checked="a worked example; the dense definition",
)
def subspace_boosting(
    update: Update, stack: Stack, *, energy: Annotated[float, Interval(gt=0, le=1)] = 0.5
) -> Update:
    """Lift a merged update's small singular values.

    Args:
        update: The merged update.
        stack: What it was merged from; this step does not use it.
        energy: Share of the sum of singular values after which they are lifted; 1 for none.
    """
    decomposition = svd(update)
    k = numerical_rank(decomposition.S)
    if k == 0:
        return update
    S = decomposition.S[:k]
    # Rounding in the sum must not put the point one direction further than it is.
    before = int((S.cumsum(0) < energy * S.sum() * (1 - 1e-12)).sum())
    lifted = S.clamp_min(S[min(before, k - 1)])
    U, Vh = decomposition.U[:, :k], decomposition.Vh[:k]
    return SVD(U, lifted, Vh, decomposition.energy).cut(k)[0]
