r"""Norm balancing: bring the sizes of the updates nearer to each other before the merge.

    n_t = |Δ_t|
    n̂_t = min(n_t, median(n) + cap 1.4826 MAD(n))
    Δ_t ← Δ_t / n_t · n̂_t^(1 - γ) g^γ                g = geometric mean of n̂, γ = exponent

Adapters trained on more data, or at a higher rate, are two or three times as large as others, and
dominate a sum. γ = 0 leaves the norms as they are, γ = 1 makes them equal; half
way helps the weak tasks at little cost to the others. The cap keeps one adapter far out from
setting the scale: MAD is the median distance from the median, and 1.4826 MAD is the standard
deviation where norms are normally distributed.

Norms are those of the deltas, without weights, which are applied to the balanced updates. An update
that is zero stays so and counts in neither statistic. The A's stay as they are; the B's are scaled.

Cost: O((d_out + d_in) r^2) per adapter of rank r.

Source: the first step of a calibrated mean in core space; the cap of the median and some MADs is
the one of `ocap`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from annotated_types import Interval

from ..factors import Stack
from ..linalg import norm
from ..methods.spectral.ocap import norm_cap
from ._registry import step


@step("norms", stage="balance", paper="own; the cap as in OCAP", checked="the dense definition")
def norms(
    stack: Stack,
    *,
    exponent: Annotated[float, Interval(ge=0, le=1)] = 0.5,
    cap: Annotated[float, Interval(ge=0)] = 3.0,
) -> Stack:
    """Bring the updates' norms nearer to each other.

    Args:
        stack: The module's updates.
        exponent: How far: 0 not at all, 1 to equal norms.
        cap: How many standard deviations above the median, estimated robustly, the largest may be.
    """
    sizes = torch.tensor([norm(f) for f in stack.factors], dtype=torch.float64)
    nonzero = sizes > 0
    if not nonzero.any():
        return stack
    capped = sizes.clamp_max(norm_cap(sizes[nonzero], 1.4826 * cap))  # n̂; σ = 1.4826 MAD
    geometric = capped[nonzero].log().mean().exp()
    balanced = capped ** (1 - exponent) * geometric**exponent
    by = (balanced / sizes).where(nonzero, 1).tolist()
    scaled = tuple(f.scaled(factor) for f, factor in zip(stack.factors, by, strict=True))
    return replace(stack, factors=scaled)
