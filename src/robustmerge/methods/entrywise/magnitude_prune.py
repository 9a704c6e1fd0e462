r"""Magnitude pruning: keep each adapter's largest entries and sum.

    τ = Σ_t w_t τ̂_t          τ̂_t = the largest entries of τ_t

τ are the entries of A and those of B, each merged for itself, or those of another space. No signs
are elected and nothing is rescaled. Of n entries of a tensor int(n density) are kept; equal
magnitudes at the threshold are all kept (PEFT and mergekit pick some, and mergekit at least one).
In factor space weights and scalings go to A and B by their roots, cross terms B_t A_u between
adapters are part of the product, and pruning is at each adapter's own rank.

Source: PEFT, combination type magnitude_prune, utils/merge_utils.py.
"""

from __future__ import annotations

from ...factors import Stack, Update
from .._registry import Density, method
from ._entries import GAUGE_INVARIANT, Entries, Rule, Space, merge_entries
from ._trim import floors, trim


@method(
    "magnitude-prune",
    paper="PEFT, combination type magnitude_prune",
    gauge_invariant=GAUGE_INVARIANT,
    checked="PEFT's combination types magnitude_prune and magnitude_prune_svd; mergekit's "
    "sparsification magnitude",
)
def magnitude_prune(stack: Stack, *, density: Density = 0.2, space: Space = "factor") -> Update:
    """Sum the pruned entries.

    Args:
        stack: The module's updates.
        density: Share of entries that is kept, largest first.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
    """

    def rule(entries: Entries) -> Rule:
        floor = floors(entries.blocks, density)
        return lambda block: entries.total(trim(block, floor))

    return merge_entries(stack, space, rule)
