r"""RegMean: the update with outputs nearest to each adapter's, on the inputs of that adapter.

    minimize Σ_t w_t ‖(Δ - Δ_t) X_t^T‖²                X_t: adapter t's inputs of this module
    Δ = (Σ_t w_t Δ_t G_t) (Σ_t w_t G_t + λ)^-1         λ = ridge tr(Σ_t w_t G_t) / d_in
    G_t = X_t^T X_t ≈ S_t^T S_t + diag(rest_t)         [d_in d_in], never formed

On the base's weights the sum is least for the same Δ, as W_t - W_0 = Δ_t. Δ may read any inputs: it
has the rank of the sum, but reads what distinguishes the tasks, whether an adapter reads it or not.
`regmean-rows` looks for the best update whose rows are combinations of those of all A.

S_t are the 64 leading directions of the inputs' second moments and rest_t what is left on the
diagonal (`robustmerge collect --what inputs`), so that everything above is exact for the moments as
they are sketched: a single adapter comes back as it is. Weights say how much an adapter counts: all
of them times two is no change. With `per_token` each G_t is divided by the number of its tokens, so
that tasks with long samples do not count more.

Entries of G_t off its diagonal are multiplied by `off_diagonal`, which makes up for few samples.
With V the rows of all S_t and D the diagonal, both weighted,

    (D + V^T V)^-1 = D^-1 - D^-1 V^T (I + V D^-1 V^T)^-1 V D^-1

so that a system of 64 numbers an adapter is solved. A lower rank is the least of the objective
(`cut=objective`) or the most energy.

Cost: O(d_in (64 T)^2 + (64 T)^3 + (d_out + d_in) R^2) for T adapters and the sum of ranks R.

Source: Jin et al., Dataless Knowledge Fusion, ICLR 2023, arXiv:2212.09849, section 3; the sketch:
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...basis import Basis
from ...factors import Lifted, Stack, Update
from ...quadratic import Quadratic
from ...statistic_kinds import SKETCHED
from .._registry import Cut, method
from ._statistics import importances, statistic_of

_FLOOR = 1e-9
"""Share of the mean diagonal entry below which one counts as this much, so that none is 0."""


@method(
    "regmean",
    paper="Jin et al., ICLR 2023, arXiv:2212.09849",
    checked="RegMean on full matrices",
    gauge_invariant=True,
    needs=("sketch", "rest", "tokens"),
)
def regmean(
    stack: Stack,
    *,
    off_diagonal: Annotated[float, Interval(ge=0, le=1)] = 0.9,
    ridge: Annotated[float, Interval(ge=0)] = 0.0,
    per_token: bool = False,
    cut: Cut = "energy",
) -> Update:
    """Merge by least squares on activations.

    Args:
        stack: The module's updates.
        off_diagonal: Factor of the entries of G_t off its diagonal.
        ridge: Ridge, as a share of the mean eigenvalue of the summed moments.
        per_token: Divide each G_t by the number of its tokens.
        cut: At a lower rank, keep the most energy or the least objective.
    """
    moments = [
        _moments(stack, t, w, off_diagonal, per_token) for t, w in enumerate(importances(stack))
    ]
    total = InputMoments(sum(m.D for m in moments), torch.cat([m.V for m in moments]))  # type: ignore[arg-type]
    # w_t A_t G_t of all adapters, one below another: [R, d_in]
    wanted = torch.cat([m.times(f.A.double()) for m, f in zip(moments, stack.factors, strict=True)])
    rows = total.ridged(ridge).solve(wanted)
    B = Basis.of(torch.cat([f.B for f in stack.factors], dim=1))
    A = Basis.of(rows.T)
    M = B.R @ A.R.T
    measure = None
    if cut == "objective":
        Q = A.Q
        measure = Quadratic.one_sided(total.ridged(ridge).times(Q.T) @ Q, len(M))
    return Lifted(B, M, A, measure)


@dataclass(frozen=True)
class InputMoments:
    """Second moments of inputs: diag(D) + V^T V."""

    D: Float[Tensor, " d_in"]
    V: Float[Tensor, "k d_in"]

    def times(self, X: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Return X (diag(D) + V^T V)."""
        return X * self.D + (X @ self.V.T) @ self.V

    def ridged(self, ridge: float) -> InputMoments:
        """Return them with a share of the mean eigenvalue added to the diagonal."""
        mean = (self.D.sum() + self.V.square().sum()) / len(self.D)
        return InputMoments((self.D + ridge * mean).clamp_min(_FLOOR * float(mean)), self.V)

    def solve(self, X: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Return X (diag(D) + V^T V)^-1, by Woodbury's identity; 0 where there are no moments."""
        inverse = 1 / self.D.where(self.D > 0, 1)
        Z, W = X * inverse, self.V * inverse  # [n, d_in], [k, d_in]
        K = W @ self.V.T
        K.diagonal().add_(1)
        solution: Tensor = Z - torch.linalg.solve(K, Z @ self.V.T, left=False) @ W
        return solution


def _moments(
    stack: Stack, t: int, weight: float, off_diagonal: float, per_token: bool
) -> InputMoments:
    """Return w_t G_t of one adapter."""
    d_in = stack.shape[1]
    S = statistic_of(stack, t, "sketch", min(SKETCHED, d_in), d_in)
    rest = statistic_of(stack, t, "rest", d_in)
    if per_token:
        weight = weight / max(float(statistic_of(stack, t, "tokens", 1)), 1.0)
    D = rest + (1 - off_diagonal) * S.square().sum(0)
    return InputMoments(weight * D, (weight * off_diagonal) ** 0.5 * S)
