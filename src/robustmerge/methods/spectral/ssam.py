r"""SSAM: project every update on the subspaces that all of them share most, and average.

    U = leading eigenvectors of Σ_t Δ_t Δ_t^T        output directions
    V = leading eigenvectors of Σ_t Δ_t^T Δ_t        input directions
    Δ = U U^T (Σ_t w_t Δ_t / Σ_t w_t) V V^T

U and V are those of which the updates lie inside as much as possible, each side for itself. What
sticks out belongs to few adapters and is left out; within, updates are averaged as they are. The
paper was made for adapters of different modalities on one language model, and keeps what concerns
the modalities apart; here every module is merged.

How many directions the paper keeps is not known here: `keep` is the share of those that there are,
rounded up, of either side (singular values of all updates side by side, or one below the other,
above 1e-7 of the largest). Weights multiply the updates in those sums, too. Eigenvectors are found
as singular vectors, without squaring.

Cost: O((d_out + d_in) R^2) for the sum of ranks R, and two decompositions of R x T R.

Source: Reza et al., SSAM, arXiv:2603.21584, equations 8 and 9.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Lifted, Stack
from ...linalg import compact_svd, core
from .._registry import Density, method
from ._cut import at_least


@method(
    "ssam",
    paper="Reza et al., arXiv:2603.21584",
    gauge_invariant=True,
    checked="the dense definition",
)
def ssam(stack: Stack, *, keep: Density = 0.5) -> Lifted:
    """Average within the shared subspaces.

    Args:
        stack: The module's updates.
        keep: Share of the output and of the input directions that is kept, rounded up.
    """
    space = core(stack)
    U = _leading(torch.cat([*space.weighted], dim=1), keep)  # of [p, task·q]
    V = _leading(torch.cat([*space.weighted.mT], dim=1), keep)
    mean = torch.tensordot(space.M.new_tensor(stack.share()), space.M, dims=1)
    return space.lift(U @ (U.T @ mean @ V) @ V.T)


def _leading(X: Float[Tensor, "d n"], keep: float) -> Float[Tensor, "d k"]:
    U, S, _ = compact_svd(X)
    return U[:, : at_least(keep, len(S))]
