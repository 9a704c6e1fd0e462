r"""ACE-Merging: RegMean with covariances estimated from the updates, and a spectral refinement.

    S_t = Δ_t^T (I - 1 1^T / d_out) Δ_t              covariance of the rows, times their number
    γ = Var_t(log ‖Δ_t‖²) / (mean_t log ‖Δ_t‖²)²
    where γ > `threshold`:  S_t <- S_t / trace S_t,  ε_t = ridge / trace S_t;  else ε_t = ridge
    P = 1 mean(Σ_t S_t)^T                            mean of the rows, for every row
    where γ > threshold:    P <- P / mean_t ‖Δ_t‖²
    Δ_0 = Σ_t Δ_t (S_t + ε_t) (Σ_t (S_t + ε_t) + P)^-1
    where γ > threshold:    U σ V^T = Δ_0 + Σ_t Δ_t (S_t - mean_u (S_u + ε_u))
                            Δ = Δ_0 + mean(σ_1 ... σ_k) U_k V_k^T

The rows of an update are sums of the inputs it was trained on, so their covariance stands for that
of the inputs. Adapters whose norms differ much (γ) are put on one footing first, and what that
takes from the largest comes back as k directions of equal strength. The ridge decides where no
update is strong, and the prior P holds the solution back where all together are. It holds back a
single adapter as well, which therefore does not merge to itself.

What the description leaves open is taken from the released code: S_t is not divided by d_out, P is
a matrix of equal rows and not symmetric, and γ and the ridge are compared with squared norms as
they are, so that twice the updates are not twice the merge; γ is large where norms are near 1, as
those of adapters may be. Three things were chosen otherwise. Δ_t is whole in the formula for Δ_0;
the code has its mean row taken off there, so that it is missing in the result. k is a share of the
directions that the updates have; a share of min(d_out, d_in) reaches into rounding on low-rank
updates, where directions are arbitrary. Updates that are zero are left out.

Row means and P depend on the coordinates, but only by the sums over Q_B and Q_A: all of it is exact
in the core. Updates are taken times their weights.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: Xu et al., ACE-Merging, CVPR 2026, arXiv:2603.02945; the released code.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from ...linalg import core, numerical_rank
from ...quadratic import Quadratic
from .._registry import Cut, Density, method

_TINY = 1e-12  # against divisions by 0


@method(
    "ace",
    paper="Xu et al., CVPR 2026, arXiv:2603.02945",
    checked="the dense definition",
    gauge_invariant=True,
    scale_equivariant=False,
)
def ace(
    stack: Stack,
    *,
    ridge: Annotated[float, Interval(gt=0)] = 1e-2,
    threshold: Annotated[float, Interval(ge=0)] = 0.3,
    density: Density = 0.3,
    cut: Cut = "energy",
) -> Update:
    """Merge by least squares on estimated covariances.

    Args:
        stack: The module's updates.
        ridge: Added to the eigenvalues of each covariance.
        threshold: How heterogeneous norms are when covariances are normalized.
        density: Share of the directions of the refinement that is kept, strongest first.
        cut: At a lower rank, keep the most energy, or the least of the ridged sum of squares.
    """
    space = core(stack)
    M = space.weighted
    M = M[M.flatten(1).any(1)]  # [task, p, q], without zero updates
    if not len(M):
        return space.lift(space.M.sum(0))
    ones_out, ones_in = space.B.Q.sum(0), space.A.Q.sum(0)  # 1^T Q_B: [p], 1^T Q_A: [q]
    norms = M.square().sum((1, 2))
    mixed = _heterogeneity(norms) > threshold

    sums = (ones_out @ M)[:, :, None]  # [task, q, 1]: sums over the rows of each update
    S = M.mT @ M - sums @ sums.mT / stack.shape[0]
    traces = S.diagonal(dim1=1, dim2=2).sum(1).clamp_min(0)
    by = 1 / (traces + _TINY) if mixed else torch.ones_like(norms)
    identity = torch.eye(S.shape[1], dtype=S.dtype, device=S.device)
    S, eps = S * by[:, None, None], (ridge * by)[:, None, None] * identity
    prior = torch.outer(ones_in, ones_in @ S.sum(0)) / stack.shape[1]
    if mixed:
        prior = prior / (norms.mean() + _TINY)
    total = (S + eps).sum(0)
    merged: Tensor = torch.linalg.solve(total + prior, (M @ (S + eps)).sum(0), left=False)
    if mixed:
        residual = (M @ (S - total / len(M))).sum(0)
        merged = merged + _level_directions(merged + residual, density)
    return space.lift(
        merged, Quadratic.one_sided(total, len(merged)) if cut == "objective" else None
    )


def _heterogeneity(norms: Float[Tensor, " task"]) -> float:
    """Return γ: the variance of the logarithms of the squared norms, over their squared mean."""
    if len(norms) == 1:
        return 0.0
    logs = (norms + _TINY).log()
    return float(logs.var() / (logs.mean().square() + _TINY))


def _level_directions(M: Float[Tensor, "p q"], density: float) -> Float[Tensor, "p q"]:
    """Return the leading directions, with the mean of their singular values."""
    U, S, Vh = torch.linalg.svd(M, full_matrices=False)
    k = max(int(density * numerical_rank(S)), 1)
    leveled: Tensor = S[:k].mean() * U[:, :k] @ Vh[:k]
    return leveled
