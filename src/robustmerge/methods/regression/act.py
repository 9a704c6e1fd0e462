r"""ACTMerge: RegMean with each update's own rows in place of activations.

    G_t = Δ_t^T Δ_t,   Δ = (Σ_t Δ_t G_t) (Σ_t G_t)^+          Δ_t the updates times their weights

RegMean weighs adapters, direction by direction, with the second moments of their inputs. The rows
of an update are sums of the inputs it was trained on, so Δ_t^T Δ_t stands for them, and no data are
needed. It minimizes Σ_t ‖(Δ - Δ_t) Δ_t^T‖², which is WUDI's sum without the division by ‖Δ_t‖²: a
large update is heard more.

As WUDI, it is exact in the core, and on nearly equal A's it fits what little they differ by.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: ACTMerge, arXiv:2604.01329.
"""

from __future__ import annotations

from ...factors import Stack, Update
from ...linalg import core
from .._registry import method
from ._interference import Interference, start_of


@method(
    "act",
    paper="ACTMerge, arXiv:2604.01329",
    checked="the dense definition",
    gauge_invariant=True,
)
def act(stack: Stack) -> Update:
    """Merge by least squares on the updates' own rows.

    Args:
        stack: The module's updates.
    """
    space = core(stack)
    M = space.weighted
    return space.lift(Interference.of(M, M).solution(start_of(M, "zero")))
