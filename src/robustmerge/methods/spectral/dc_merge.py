r"""DC-Merge: even out each adapter's singular values, and vote in a space that covers all of them.

    U_t S_t V_t^T = w_t Δ_t                  singular value decomposition, r_t directions
    S̃_t = mean(S_t), or an even ramp         (smoothing), of the same sum as S_t
    U = polar([U_1 ... U_T]),  V = polar([V_1 ... V_T])
    M_t = U^T U_t S̃_t V_t^T V                the largest entries of it
    M = mean of the M_t that have the sign of Σ_t M_t
    Δ = U (M ⊙ blocks) V^T                   blocks: 1 in each adapter's own r_t x r_t, 0 elsewhere

A few large singular values drown what an adapter stores along its other directions; smoothing lifts
those before the merge. The cover space U, V gives every adapter axes of its own, as TSV-Merging
does, so that entries of the M_t mean the same for all of them and can be voted on.

The ramp of smoothing `linear` falls evenly from min(rho, S_1 / S_r) to 1, times what keeps the sum:
4, 2, 1, 1 becomes 2, 2, 2, 2 with `avg` and 3.2, 2.4, 1.6, 0.8 with `linear`.

Of the R x R entries of M_t, R being the sum of the ranks, int(density R²) are kept, and never fewer
than r_t. The released code for LLaVA keeps a share of 1e-3, which for its eight adapters of rank 16
is 16 entries, one for each direction; elsewhere the authors keep 10 %. With fewer adapters a share
of 1e-3 is less than one entry for each direction, and with `avg`, where an adapter's entries are
nearly equal, it would choose among equals: hence the bound. Entries that equal the smallest kept
one up to rounding are kept too.

The released code takes the leading 16 directions of every update by a random projection, whatever
its rank is; here each brings as many as it has. It leaves the scaling of the adapters out, and has
the merged adapter applied with theirs, which comes to the same. Where an adapter's singular values
are equal, its axes within the cover space are arbitrary, and so is the vote.

Cost: O((d_out + d_in) R^2) and T R^2 log R; the rank of the result is at most R.

Source: Zhang et al., DC-Merge, CVPR 2026, arXiv:2603.06242; released code, vlm_merge of
Tobeginwith/DC-Merge.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from ...linalg import compact_svd, core, polar
from .._registry import Density, method
from ._consensus import consensus, largest

Smoothing = Literal["avg", "linear", "none"]


@method(
    "dc-merge",
    paper="Zhang et al., CVPR 2026, arXiv:2603.06242",
    gauge_invariant=True,
    checked="the worked example of smoothing; the dense definition",
)
def dc_merge(
    stack: Stack,
    *,
    smoothing: Smoothing = "avg",
    rho: Annotated[float, Interval(ge=1)] = 5.0,
    density: Density = 1e-3,
) -> Update:
    """Merge with even singular values, by a vote in the cover space.

    Args:
        stack: The module's updates.
        smoothing: All singular values of an adapter equal, on an even ramp, or as they are.
        rho: How many times the last singular value the first is at most, on the ramp.
        density: Share of the entries in the cover space that each adapter keeps, largest first; at
            least one entry for each of its directions is kept.
    """
    space = core(stack)
    lefts, rights, smoothed = [], [], []
    for M in space.weighted:
        U_t, S, Vh = compact_svd(M)
        lefts.append(U_t)
        rights.append(Vh.T)
        smoothed.append(U_t * smooth(S, smoothing, rho) @ Vh)
    # The cover space: [p, R], [q, R]
    U, V = polar(torch.cat(lefts, dim=1)), polar(torch.cat(rights, dim=1))
    M = U.T @ torch.stack(smoothed) @ V  # [task, R, R]
    ranks = [left.shape[1] for left in lefts]
    kept = largest(M, [max(int(density * M[0].numel()), k) for k in ranks])
    owner = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks)).to(M.device)
    blocks = owner[:, None] == owner  # [R, R]: both axes are of one adapter
    return space.lift(U @ (consensus(kept) * blocks) @ V.T)


def smooth(S: Float[Tensor, " k"], smoothing: Smoothing, rho: float) -> Float[Tensor, " k"]:
    """Singular values made more even, with the sum they had."""
    if smoothing == "none" or len(S) == 0:
        return S
    first = min(rho, float(S[0] / S[-1])) if smoothing == "linear" else 1.0
    ramp = torch.linspace(first, 1.0, len(S), dtype=S.dtype, device=S.device)
    return ramp * (S.sum() / ramp.sum())
