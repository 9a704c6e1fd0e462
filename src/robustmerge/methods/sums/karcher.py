r"""Karcher: the mean of the updates' directions on the sphere, at their mean length.

    u_t = Δ_t / ‖Δ_t‖                          p_t = w_t / Σ w
    u   = argmin_u Σ_t p_t angle(u, u_t)^2     ‖u‖ = 1
    Δ   = u Σ_t p_t ‖Δ_t‖

The mean of nearly orthogonal updates is 1/√T as long as they are; this one is as long as they are
on average, and small updates turn it as much as large ones do. For two updates it is a point of the
arc between them, at w_2 / (w_1 + w_2) of the way: spherical interpolation (SLERP), which is defined
for two only and has no method of its own here for that reason.

The mean is found per module by the usual fixed point: from the tangents that lead to the u_t take
the mean, follow it, and again, until it moves by less than 1e-12. All of it happens in the span of
the updates, so that the result is a sum with coefficients that need inner products only.

mergekit's karcher merges whole weights rather than updates, with equal weights, and stops after ten
steps or at 1e-5; given the updates it is the same but for that. Its start, where directions cancel,
is the first of them; here the merge is zero then, since any direction would do as well. Updates
that are zero have no direction and count as length 0, there as here.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: Karcher, Riemannian center of mass, Comm. Pure Appl. Math. 30, 1977; mergekit,
merge_methods/karcher.py.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Stack
from ...linalg import concat
from .._registry import method
from ._norms import gram, shares_of_directions, unit

_STEPS = 500
_STILL = 1e-12  # length of a step, in radians
_SMALL = 1e-6
"""Below it angle and sine are one number, and no direction is what directions cancel to."""


@method(
    "karcher",
    paper="Karcher, Comm. Pure Appl. Math. 1977 (mean on the sphere)",
    gauge_invariant=True,
    checked="the worked example; the dense definition; mergekit's karcher",
)
def karcher(stack: Stack) -> Factors:
    """Average directions on the sphere."""
    products = gram(stack)  # [task, task]
    norms = products.diagonal().sqrt()
    shares = norms.new_tensor(shares_of_directions(stack))
    on_units = _mean(unit(products), shares * (norms > 0))
    coefficients = on_units * torch.where(norms > 0, 1 / norms, 0) * (shares @ norms)
    return concat(stack.reweighted(tuple(coefficients.tolist())))


def _mean(cosines: Float[Tensor, "task task"], p: Float[Tensor, " task"]) -> Float[Tensor, " task"]:
    """Return the spherical mean of unit vectors, as coefficients, from their inner products."""

    def length(x: Float[Tensor, " task"]) -> Float[Tensor, ""]:
        return (x @ cosines @ x).clamp_min(0).sqrt()

    if length(p) <= _SMALL * p.sum():
        return torch.zeros_like(p)
    p = p / p.sum()
    u = p / length(p)
    for _ in range(_STEPS):
        cosine = (cosines @ u).clamp(-1, 1)
        sine = (1 - cosine.square()).sqrt()
        stretch = torch.where(sine > _SMALL, torch.atan2(sine, cosine) / sine, 1)
        # The mean tangent at u, in coefficients on the unit vectors.
        tangent = p * stretch - (p * stretch @ cosine) * u
        step = length(tangent)
        if step < _STILL:
            break
        # Along the great circle by the tangent's length.
        u = torch.cos(step) * u + torch.sin(step) / step * tangent
        u = u / length(u)
    return u
