r"""MagMax: of each entry take the adapter whose entry is largest.

    τ[j] = τ_t[j],  t = argmax_u |τ_u[j]|          τ_t the updates, weights included

The task that changed an entry most needs it most; nothing is added up, so nothing cancels out. Of
equal magnitudes the later adapter's is taken. The authors multiply the merge by 0.5, which is the
recipe's scale, and made it for models that learn one task after the other.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space; the method was made for deltas.

Source: Marczak et al., MagMax, ECCV 2024, arXiv:2407.06322.
"""

from __future__ import annotations

from functools import reduce

from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import method
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries


@method(
    "magmax",
    paper="Marczak et al., ECCV 2024, arXiv:2407.06322",
    gauge_invariant=GAUGE_INVARIANT,
    checked="the worked example; the definition, entry by entry",
)
def magmax(stack: Stack, *, space: Space = "factor") -> Update:
    """Take the entries of largest magnitude.

    Args:
        stack: The module's updates.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
    """

    def rule(entries: Entries) -> Rule:
        def merge(block: EntryBlock) -> Float[Tensor, "rows cols"]:
            return largest(entries.weighted(block.x))

        return merge

    return merge_entries(stack, space, rule)


def largest(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "rows cols"]:
    """Return the entries of largest magnitude; of equal ones the last."""
    high, low = x.amax(0), x.amin(0)
    if ((high == -low) & (high > 0)).any():  # equal magnitudes of both signs
        merged: Tensor = reduce(_larger, x)
        return merged
    return high.where(high > -low, low)


def _larger(earlier: Tensor, later: Tensor) -> Tensor:
    return later.where(later.abs() >= earlier.abs(), earlier)
