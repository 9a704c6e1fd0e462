r"""RegMean within the rows of the A's: the best combination of what the adapters read.

    minimize Σ_t w_t ‖(Δ - Δ_t) X_t^T‖²              X_t: adapter t's inputs of this module
    Δ (Σ_t w_t G_t) = Σ_t w_t Δ_t G_t                G_t = X_t^T X_t

On the base's weights the sum is least for the same Δ, as W_t - W_0 = Δ_t. Entries of G_t off its
diagonal are multiplied by `off_diagonal`, which makes up for few samples. Weights say how much an
adapter counts: all of them times two is no change.

The solution on full matrices, `regmean`, reads inputs that no adapter reads. Here the rows of Δ are
combinations of the rows of all A, and the minimum is over those: it is the best that can be made of
the adapters, at rank R. So only inputs as A sees them are needed, and they are collected as `gram`,
R x R: Σ z z^T with z = A x for the A of all adapters. With `squares`, Σ x² for
each input, the multiplied G_t is exact too: off_diagonal gram + (1 - off_diagonal) A diag(squares)
A^T. Where the A's span all inputs the result is that of RegMean on full matrices. Directions that
no sample shows, and rows that depend on others, get the least Δ that agrees with what is shown.

With `per_token` each G_t is divided by the number of its tokens, so that tasks with long samples do
not count more. RegMean++ (Nguyen et al., 2025) is the same formula on activations of
the merged model: `robustmerge collect --through merged`. So are LOT Merging (arXiv:2505.23859) and
Chain of Merges (arXiv:2508.21421).

SSR-Merge (arXiv:2606.10617), made for diffusion models, is this method with off_diagonal 1: the
merged B is [B_1 ... B_T] Q (G + λ)^-1 on all A, with G = Σ_t G_t and Q's rows of adapter t those of
G_t, which solves the same equations where λ is 0. Its λ of 1e-4 is added to moments of z = A x, so
that its effect depends on how the size of an update is split between B and A: an A a hundred times
smaller, with a B as much larger, is another merge. Here nothing is added; what no sample shows is
left out instead.

Cost: O((d_out + d_in) R^2 + T d_in R^2) for the sum of ranks R.

Source: Jin et al., Dataless Knowledge Fusion, ICLR 2023, arXiv:2212.09849, section 3.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from ...linalg import compact_svd, core
from ...quadratic import Quadratic
from .._registry import Cut, method
from ._statistics import importances, statistic_of

_UNSEEN = 1e-13
"""Share of the largest eigenvalue below which a sum of squares is rounding."""


@method(
    "regmean-rows",
    paper="Jin et al., ICLR 2023, arXiv:2212.09849",
    checked="the worked example; least squares on the activations; RegMean on full matrices",
    gauge_invariant=True,
    needs=("gram", "squares", "count"),
)
def regmean_rows(
    stack: Stack,
    *,
    off_diagonal: Annotated[float, Interval(ge=0, le=1)] = 0.9,
    per_token: bool = False,
    cut: Cut = "energy",
) -> Update:
    """Merge by least squares on activations, with inputs that adapters read.

    Args:
        stack: The module's updates.
        off_diagonal: Factor of the entries of G_t off its diagonal.
        per_token: Divide each G_t by the number of tokens it was collected on.
        cut: At a lower rank, keep the most energy or the least objective.
    """
    space = core(stack)
    rows = torch.cat([f.A for f in stack.factors]).double()
    R, d_in = rows.shape
    own = torch.split(torch.arange(R), list(stack.ranks))
    # Σ_t w_t G_t: [R, R], Σ_t w_t Δ_t G_t: [p, R], both in coordinates of the rows
    total, wanted = rows.new_zeros(R, R), rows.new_zeros(len(space.B.tau), R)
    for t, (at, w) in enumerate(zip(own, importances(stack), strict=True)):
        squares = statistic_of(stack, t, "squares", d_in)
        G = off_diagonal * statistic_of(stack, t, "gram", R, R)
        G = w * (G + (1 - off_diagonal) * (rows * squares) @ rows.T)
        if per_token:
            G = G / statistic_of(stack, t, "count", 1).clamp_min(1)
        total += G
        wanted += space.B.R[:, at] @ G[at]
    M, E = _smallest_solution(total, wanted, space.A.R.T)
    return space.lift(M, Quadratic.one_sided(E, len(M)) if cut == "objective" else None)


def _smallest_solution(
    G: Float[Tensor, "R R"], wanted: Float[Tensor, "p R"], rows: Float[Tensor, "R q"]
) -> tuple[Float[Tensor, "p q"], Float[Tensor, "q q"]]:
    """Return the smallest M with C G = wanted, M = C rows, and the moments of inputs it answers.

    C itself is neither wanted nor unique. Rounding in G is of one size in the coordinates of the
    rows, so there it is separated from what the samples show; the smallest M is one of orthonormal
    coordinates, where nothing depends on how the updates are split in factors.
    """
    L, V = torch.linalg.eigh(G)
    seen = _UNSEEN * L.max().clamp_min(0) < L
    root = L[seen].sqrt()
    inputs, outputs = root[:, None] * V[:, seen].T, wanted @ V[:, seen] / root
    P, E, Qt = compact_svd(rows)
    # Samples that have the same moments, seen in orthonormal coordinates.
    X = inputs @ P / E
    M = outputs @ torch.linalg.pinv(X.T, rtol=1e-7) @ Qt
    return M, Qt.T @ X.T @ X @ Qt
