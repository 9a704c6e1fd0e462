r"""SCORE: sum the updates in axes of all adapters, without the large cross terms between axes.

    U_t S_t V_t^T = w_t Δ_t                  singular value decomposition, r_t directions
    U = polar([U_1 ... U_T]),  V = polar([V_1 ... V_T])
    M_t = U^T w_t Δ_t V                      R x R
    M̂_t = diag(M_t) + the other entries of M_t with |entry| <= width σ_t / T
    Δ = U (Σ_t M̂_t) V^T

The diagonal of M_t is what an adapter does along the axes. The other entries carry one axis into
another; the large ones are taken for conflict, and cut. The method was made for domains that no
adapter was trained on.

σ_t is the root mean square of the entries off the diagonal. The released code (flavor paper) keeps
entries within width σ_t / T of the mean of these entries, where mean and standard deviation count
the diagonal, too, as zeros. Singular vectors come in pairs whose common sign is arbitrary. Turning
a pair around changes the signs of a row and a column of M_t, hence that mean, hence which entries
are kept: the released rule gives one merge on full matrices and another in core space. A mean of 0
and the second moment do not change with the signs.

The paper takes min(d_out, d_in) / T directions of every update, which suits full fine-tuning; here
each brings as many as it has. T counts the updates that are not zero. For medical images the
authors do not divide by T: width 1.96 T. As in `tsv-m`, a direction that two adapters almost share
leaves a rest that is lifted to full length. Where an adapter's singular values are equal, its axes
are arbitrary.

Cost: O((d_out + d_in) R^2) for the sum of ranks R, and T R^3.

Source: SCORE, CVPR 2026, arXiv:2603.05768; released code, VirtualSpaceman/score_cvpr26, version v1.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Lifted, Stack
from ...linalg import compact_svd, core, polar
from .._registry import When, method

Flavor = Literal["moment", "paper"]


@method(
    "score",
    paper="SCORE, CVPR 2026, arXiv:2603.05768",
    gauge_invariant=When("flavor", "moment"),
    order_invariant=When("flavor", "moment"),
    checked="the worked example; the dense definition; the released rule on one matrix",
    cautions={
        When("flavor", "paper"): "which entries it keeps depends on the signs of singular vectors, "
        "which are arbitrary"
    },
)
def score(
    stack: Stack,
    *,
    flavor: Flavor = "moment",
    width: Annotated[float, Interval(ge=0)] = 1.96,
) -> Lifted:
    """Sum in shared axes, without the large cross terms.

    Args:
        stack: The module's updates.
        flavor: Measure cross terms from 0 by their second moment, or as released from their mean.
        width: Cross terms up to this many standard deviations, divided by T, are kept.
    """
    space = core(stack)
    M = space.weighted
    M = M[M.flatten(1).norm(dim=1) > 0]
    if len(M) == 0:
        return space.lift(torch.zeros_like(space.M[0]))
    parts = [compact_svd(m) for m in M]
    U = polar(torch.cat([U for U, _, _ in parts], dim=1))  # [p, R]
    V = polar(torch.cat([Vh.T for _, _, Vh in parts], dim=1))  # [q, R]
    return space.lift(sum_in_axes(M, U, V, width=width, flavor=flavor))


def sum_in_axes(
    M: Float[Tensor, "task p q"],
    U: Float[Tensor, "p n"],
    V: Float[Tensor, "q n"],
    *,
    width: float,
    flavor: Flavor,
) -> Float[Tensor, "p q"]:
    """Return the sum of the updates in pairs of axes, each trimmed."""
    trimmed = [_trim(m, width / len(M), flavor) for m in U.T @ M @ V]
    return U @ torch.stack(trimmed).sum(0) @ V.T


def _trim(M: Float[Tensor, "n n"], width: float, flavor: Flavor) -> Float[Tensor, "n n"]:
    """Return the diagonal, and the other entries that are within so many standard deviations."""
    if len(M) < 2:
        return M
    diagonal = torch.diag(M.diagonal())
    rest = M - diagonal
    if flavor == "paper":
        return diagonal + rest.where((rest - rest.mean()).abs() <= width * rest.std(), 0)
    count = rest.numel() - len(rest)
    return diagonal + rest.where(rest.abs() <= width * rest.norm() / count**0.5, 0)
