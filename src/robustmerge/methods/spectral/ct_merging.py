r"""CT-Merging: a common part in the outputs that adapters share, a part of each adapter's own.

    U_t S_t V_t^T = w_t Δ_t                  singular value decomposition, r_t directions
    U_c = the k leading eigenvectors of (1/T) Σ_t U_t U_t^T
    P diag(s) Q^T = (1/T) Σ_t U_c^T w_t Δ_t  the common part, its directions U_c P and Q
    L_t = (I - U_c U_c^T) U_t                the own part of t, its directions L_t and V_t
    L = [U_c P, L_1 ... L_T],  V = [Q, V_1 ... V_T],  c = (c_0 ... c_0, c_1 ... c_1, ...)
    Δ = gain · polar(L) diag(c) polar(V)^T   polar(P E Q^T) = P Q^T

c_0 is the root mean square of s, c_t that of S_t: ‖w_t Δ_t‖ / √r_t. So every direction of an
adapter is equally strong, outputs that most adapters write to are merged once as a mean, and what
is left of each adapter is made orthogonal to the others' (`tsv-m`).

A polar factor lifts every direction to full length, however little is left of it: where an output
direction lies almost inside U_c, or two adapters almost share one, that little is rounding of the
files; an adapter and its copy in bfloat16 merge to something else than the adapter twice, by half
of it. Directions of length 1 in 16-bit files are known to about 1e-2. So of L_t and of the stacked
L and V, which have k columns more than directions, all that is shorter than `tolerance` is left
out; files in float32 stand a smaller one. k is lowered to where it splits no eigenvalues that are
equal up to `tolerance`, which would choose among them by rounding: of orthogonal adapters all are
equal, and there is no common part.

Leaving out goes by the directions of L_t and not by the columns of U_t, which are arbitrary where
singular values of an update are equal; as an adapter's are all made equal, L_t V_t^T is not. T
counts the updates that are not zero, so that an absent adapter changes nothing. The k and the gain
of the paper are not known here; k = 4 is that of the implementation that was read. The merge is
larger than a mean: compare it with others at one of the scale rules.

Cost: O((d_out + d_in) R^2) for the sum of ranks R; the rank of the result is at most R.

Source: CT-Merging, arXiv:2607.20561, algorithm 1, as in a third-party implementation of it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Lifted, Stack
from ...linalg import compact_svd, core
from .._registry import method


@method(
    "ct-merging",
    paper="CT-Merging, arXiv:2607.20561",
    gauge_invariant=True,
    checked="the worked examples; the dense definition",
)
def ct_merging(
    stack: Stack,
    *,
    common: Annotated[int, Interval(ge=0)] = 4,
    gain: Annotated[float, Interval(gt=0)] = 1.0,
    tolerance: Annotated[float, Interval(gt=0, lt=1)] = 1e-2,
) -> Lifted:
    """Merge by a common part and orthogonal own parts.

    Args:
        stack: The module's updates.
        common: k, the number of common output directions at most.
        gain: Multiplies the merged update.
        tolerance: Length below which what is left of a direction is rounding of the files, and
            difference, as a share of the largest, below which eigenvalues are equal.
    """
    space = core(stack)
    M = space.weighted
    M = M[M.flatten(1).norm(dim=1) > 0]
    if len(M) == 0:
        return space.lift(torch.zeros_like(space.M[0]))
    parts = [compact_svd(m) for m in M]
    U_c = _consensus(torch.cat([U for U, _, _ in parts], dim=1), common, tolerance)
    P, s, Qt = compact_svd(U_c.T @ M.mean(0))
    lefts, rights, strengths = [U_c @ P], [Qt.T], [_root_mean_square(s)]
    for U, S, Vh in parts:
        X, E, Yt = _longer_than(U - U_c @ (U_c.T @ U), tolerance)
        lefts.append(X * E)
        rights.append(Vh.T @ Yt.T)
        strengths.append(_root_mean_square(S)[: len(E)])
    L, V = (_polar(torch.cat(side, dim=1), tolerance) for side in (lefts, rights))
    return space.lift(gain * (L * torch.cat(strengths)) @ V.T)


def _consensus(U: Float[Tensor, "p n"], most: int, tolerance: float) -> Float[Tensor, "p k"]:
    """Return the leading output directions; fewer where the last would be one of several equals."""
    axes, S, _ = compact_svd(U)
    eigenvalues = S.square()  # times T
    k = min(most, len(S))
    while 0 < k < len(S) and eigenvalues[k - 1] - eigenvalues[k] <= tolerance * eigenvalues[0]:
        k -= 1
    return axes[:, :k]


def _root_mean_square(S: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Return as many numbers, all equal to the root of the mean square."""
    return torch.full_like(S, float(S.norm()) / max(len(S), 1) ** 0.5)


def _longer_than(
    X: Float[Tensor, "m n"], least: float
) -> tuple[Float[Tensor, "m k"], Float[Tensor, " k"], Float[Tensor, "k n"]]:
    """U, S, Vh of a matrix, without singular values up to `least`."""
    U, S, Vh = torch.linalg.svd(X, full_matrices=False)
    k = int((least < S).sum())
    return U[:, :k], S[:k], Vh[:k]


def _polar(X: Float[Tensor, "d n"], least: float) -> Float[Tensor, "d n"]:
    """Return the nearest matrix with orthonormal columns; directions up to `least` stay zero."""
    P, _, Qt = _longer_than(X, least)
    return P @ Qt
