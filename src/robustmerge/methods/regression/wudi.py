r"""WUDI-Merging: the update whose difference to each adapter is least visible to that adapter.

    minimize Σ_t ‖(Δ - Δ_t) Δ_t^T‖² / ‖Δ_t‖²         Δ_t the updates times their weights
    C = Σ_t Δ_t^T Δ_t / ‖Δ_t‖²,   G = Σ_t Δ_t Δ_t^T Δ_t / ‖Δ_t‖²,   Δ = G C^+

The rows of an update are sums of the inputs it was trained on, so they stand for those inputs, and
what the others add is unwanted where it answers to them. The minimizer is linear algebra. The
authors go towards it by 300 small steps of Adam from the sum, and stop long before they are there,
which is part of the method: directions that are hardly used, where the minimizer has to be large,
are left alone (eight vision tasks, full fine-tuning: 82.3 % at the minimum, 84.6 % after 300 steps,
85.6 % by SWUDI). So `solve` says how:

    flow    gradient flow from the sum Δ_0, stopped at `time`:
            Δ = Δ_0 - Δ_0 V f V^T + G V (f / λ) V^T,  C = V diag(λ) V^T,  f = 1 - exp(-λ time)
    exact   Δ = G C^+, at the minimum; with a ridge G (C + ridge)^-1. On nearly equal A's, those of
            one initialization, it fits what little they differ by, and is so large there that the
            merged model breaks down; a ridge of 0.1 holds it down. C has trace T.
    adam    the published iteration, on the full delta: Adam depends on the coordinates, so it
            cannot be run on the core.

C does not depend on the size of the updates. So exact and flow merge larger updates to a larger
update of the same kind, while a step of Adam is as large for small updates as for large ones: 300
steps of 1e-5 move an entry by about 0.003 at most, and at the minimum it still trembles by a step.
An update of weight 0 takes no part.

Cost: O((d_out + d_in) R^2) for the sum of ranks R; with solve adam 4 d_out d_in R operations in
each of 300 steps, and five full deltas of memory.

Source: Cheng et al., Whoever Started the Interference Should End It, ICML 2025, arXiv:2503.08099,
section 4; the released code for Adam. The flow is that of SWUDI, arXiv:2606.07289.
"""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Literal

import torch
from annotated_types import Interval

from ...factors import Stack, Update
from ...linalg import core
from .._registry import Cut, When, method
from ._interference import Interference, adam, norms, start_of


@method(
    "wudi",
    paper="Cheng et al., ICML 2025, arXiv:2503.08099",
    checked="the worked example; the dense normal equations; torch's Adam on the published loss",
    gauge_invariant=True,
    scale_equivariant=When("solve", "exact", "flow"),
    cautions={
        When("solve", "exact"): "on nearly equal A's, those of one initialization, the minimum is "
        "far out and merged models break down; give a ridge, or stop early with solve=flow",
        When("solve", "adam"): "it runs through the full delta 300 times, minutes for a large "
        "module, and its steps are of one size however large the updates are",
    },
)
def wudi(
    stack: Stack,
    *,
    solve: Literal["flow", "exact", "adam"] = "flow",
    ridge: Annotated[float, Interval(ge=0)] = 0.0,
    time: Annotated[float, Interval(ge=0)] = 300.0,
    steps: Annotated[int, Interval(ge=0)] = 300,
    lr: Annotated[float, Interval(gt=0)] = 1e-5,
    cut: Cut = "energy",
) -> Update:
    """Merge with the least interference.

    Args:
        stack: The module's updates.
        solve: On the way from the sum to the minimizer by gradient flow, the minimizer itself, or
            Adam as published.
        ridge: Added to the eigenvalues of C, whose sum is the number of updates (exact only).
        time: Time at which the flow stops (flow only).
        steps: Number of steps (adam only).
        lr: Step size (adam only).
        cut: At a lower rank, keep the most energy or the least objective (not adam).
    """
    space = core(stack)
    M = space.weighted
    least = Interference.of(M, M / norms(M))
    if solve == "adam":
        dtype = reduce(torch.promote_types, (f.A.dtype for f in stack.factors))
        return adam(space, least, steps=steps, lr=lr, dtype=dtype)
    if solve == "flow":  # [k]: the part of the way gone after `time`
        f = -torch.expm1(-least.eigenvalues * time)
        return least.lifted(space, start_of(M, "sum"), f, cut)
    f = least.eigenvalues / (least.eigenvalues + ridge)
    return least.lifted(space, start_of(M, "zero"), f, cut)
