r"""ACTMerge: RegMean with each update's own rows in place of activations.

    G_t = Δ_t^T Δ_t,   Δ = (Σ_t Δ_t G_t) (Σ_t G_t)^+          Δ_t the updates times their weights

RegMean weighs adapters, direction by direction, with the second moments of their inputs. The rows
of an update are sums of the inputs it was trained on, so Δ_t^T Δ_t stands for them, and no data are
needed. It minimizes Σ_t ‖(Δ - Δ_t) Δ_t^T‖², which is WUDI's sum without the division by ‖Δ_t‖²: a
large update counts more.

As WUDI, it is exact in the core. On nearly equal A's, those of one initialization, it fits what
little they differ by, and is so large there that the merged model breaks down. A ridge holds it
down: (Σ_t G_t + ridge · mean_t ‖Δ_t‖²)^-1; 0 is the published method.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: ACTMerge, arXiv:2604.01329.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from ...factors import Stack, Update
from ...linalg import core
from .._registry import Cut, When, method
from ._interference import Interference, start_of


@method(
    "act",
    paper="ACTMerge, arXiv:2604.01329",
    checked="the dense definition",
    gauge_invariant=True,
    cautions={
        When("ridge", 0.0): "on nearly equal A's, those of one initialization, the minimum is far "
        "out and merged models break down; a ridge such as 0.1 holds it down"
    },
)
def act(
    stack: Stack, *, ridge: Annotated[float, Interval(ge=0)] = 0.0, cut: Cut = "energy"
) -> Update:
    """Merge by least squares on the updates' own rows.

    Args:
        stack: The module's updates.
        ridge: Added to the eigenvalues of Σ_t G_t, in units of the mean squared norm.
        cut: At a lower rank, keep the most energy or the least objective.
    """
    space = core(stack)
    M = space.weighted
    least = Interference.of(M, M)
    f = least.eigenvalues / (least.eigenvalues + ridge * least.eigenvalues.sum() / len(M))
    return least.lifted(space, start_of(M, "zero"), f, cut)
