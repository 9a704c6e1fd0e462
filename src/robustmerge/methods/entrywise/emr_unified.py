r"""EMR-Merging's unified vector: of each entry the elected sign and the largest size that has it.

    γ = sign(Σ_t τ_t)                              τ_t the updates, weights included
    τ[j] = γ[j] max of |τ_t[j]| over t with sign τ_t[j] = γ[j]

Like TIES it lets no minority sign cancel an entry out, but where TIES averages those that agree, it
keeps the largest. In a draw the entry is 0.

EMR stands for elect, mask and rescale; this is the first step. The others give every task a mask
and a factor of its own, which the merged model switches between at inference; one adapter for all
tasks cannot.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space; the method was made for deltas.

Source: Huang et al., EMR-Merging, NeurIPS 2024, arXiv:2405.17461.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import method
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries
from ._signs import majority


@method(
    "emr-unified",
    paper="Huang et al., NeurIPS 2024, arXiv:2405.17461",
    gauge_invariant=GAUGE_INVARIANT,
    checked="the worked example; the definition, entry by entry",
)
def emr_unified(stack: Stack, *, space: Space = "factor") -> Update:
    """Take the largest entries of the elected sign.

    Args:
        stack: The module's updates.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
    """

    def rule(entries: Entries) -> Rule:
        def merge(block: EntryBlock) -> Float[Tensor, "rows cols"]:
            x = entries.weighted(block.x)
            sign = majority(x)
            # Entries of the other sign are negative here, so never the largest.
            return sign * (sign * x).amax(0)

        return merge

    return merge_entries(stack, space, rule)
