r"""Singular value calibration: remove what a merge counts more than once.

    U S V^T = the merged update
    s_kt = <u_k^T Δ, u_k^T w_t Δ_t> / |u_k^T w_t Δ_t|²
    η_k = mean_t max(s_kt, α)
    S_k ← S_k / η_k

s_kt says how many times the part of adapter t that is written along the merged direction u_k is
contained in the merge: 2 where two equal adapters were summed, 1 where it is alone. With α = 1
(default) singular values only shrink; with a smaller one, 0.1 in another implementation, directions
that the merge has lost are lifted, too. Two updates diag(2, 1) and diag(2, -1) sum to diag(4, 0),
which becomes diag(2, 0).

It is a step after a merge that sums: a mean of T adapters is 1/T of a sum already, and with α = 1
is returned unchanged. s is large where an adapter has hardly anything along u_k, and then the
direction is nearly removed; what is rounding (below 1e-7 of the adapter's norm) is ignored and
counts as α. Updates that are zero are left out of the mean. The released code takes max(mean_t s,
α), and leaves a direction alone unless all s are positive; this is the mean of the maxima, as the
formula is given elsewhere. Where singular values of the merge are equal, their directions are
arbitrary.

Cost: a singular value decomposition of the merged update, O((d_out + d_in) R^2) for the sum of
ranks R where it is low-rank, and T R products of length R.

Source: SVC, ICML 2026, arXiv:2602.05536.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from ..factors import Stack, Update
from ..linalg import ROUNDING, SVD, core, numerical_rank, svd
from ._registry import step


@step(
    "svc",
    stage="calibrate",
    paper="SVC, ICML 2026, arXiv:2602.05536",
    checked="the worked example; the dense definition",
)
def svc(update: Update, stack: Stack, *, alpha: Annotated[float, Interval(gt=0)] = 1.0) -> Update:
    """Calibrate a merged update's singular values.

    Args:
        update: The merged update.
        stack: What it was merged from.
        alpha: The least that an adapter's s counts; 1 for singular values that only shrink.
    """
    decomposition = svd(update)
    U, S, Vh = decomposition.U, decomposition.S, decomposition.Vh
    k = numerical_rank(S)
    space = core(stack)
    M = space.weighted
    M = M[M.flatten(1).norm(dim=1) > 0]
    if k == 0 or len(M) == 0:
        return update
    own = (U[:, :k].T @ space.B.Q) @ M  # u_k^T w_t Δ_t, [task k q]
    merged = S[:k, None] * (Vh[:k] @ space.A.Q)  # u_k^T Δ, [k q]
    norms = own.norm(dim=-1)  # [task k]
    above_rounding = norms > ROUNDING * M.flatten(1).norm(dim=1)[:, None]
    s = ((own * merged).sum(-1) / norms.square()).where(above_rounding, alpha).clamp_min(alpha)
    return SVD(U[:, :k], S[:k] / s.mean(0), Vh[:k], decomposition.energy).cut(k)[0]  # S / η
