r"""Consensus Merging: of the merged entries keep those that at least two adapters need.

    τ_all = Σ_t τ_t, or TIES of τ_t                 τ_t the updates, weights included
    m_t = [ |τ_t| > λ |τ_all - τ_t| ]               TALL mask: what adapter t needs of τ_all
    τ = τ_all [ Σ_t m_t >= k ]

What one adapter alone needs disturbs the others, and what none needs disturbs all; both are left
out. Of fewer than k adapters all must need it, and one without the module needs nothing of it. λ is
`ratio`, which the authors choose per task from 0.2 to 0.6 by validation; their α is the recipe's
scale. TALL masks themselves are kept per task and switched between at inference, which one adapter
for all tasks cannot.

With combine ties each adapter is trimmed to a share `density` of entries, signs are elected by the
sum, and the entries that agree are averaged.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space; the method was made for deltas.

Source: Wang et al., Localizing Task Information for Improved Model Merging and Compression, ICML
2024, arXiv:2405.07813.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import Density, method
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries
from ._signs import agreeing, majority, positive
from ._trim import floors, trim


@method(
    "consensus",
    paper="Wang et al., ICML 2024, arXiv:2405.07813",
    gauge_invariant=GAUGE_INVARIANT,
    checked="the worked example; the definition, entry by entry",
)
def consensus(
    stack: Stack,
    *,
    ratio: Annotated[float, Interval(ge=0)] = 0.4,
    k: Annotated[int, Interval(ge=1)] = 2,
    combine: Literal["sum", "ties"] = "sum",
    density: Density = 0.2,
    space: Space = "factor",
) -> Update:
    """Merge what several adapters need.

    Args:
        stack: The module's updates.
        ratio: λ; an adapter needs the entries that are larger than this share of the others' part.
        k: By how many adapters an entry must be needed.
        combine: What is merged before: the sum, or TIES.
        density: Share of entries that TIES keeps, largest first.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
    """

    def rule(entries: Entries) -> Rule:
        merged = _sum(entries) if combine == "sum" else _ties(entries, density)

        def merge(block: EntryBlock) -> Float[Tensor, "rows cols"]:
            every, x = merged(block), entries.weighted(block.x)
            # TALL masks: [task, rows, cols]
            needs = positive(x.abs().sub_((every - x).abs_().mul_(ratio)))
            return every.where(needs.sum(0) >= min(k, len(x)), 0)

        return merge

    return merge_entries(stack, space, rule)


def _sum(entries: Entries) -> Callable[[EntryBlock], Tensor]:
    return lambda block: entries.weighted(block.x).sum(0)


def _ties(entries: Entries, density: float) -> Callable[[EntryBlock], Tensor]:
    floor = floors(entries.blocks, density)

    def merged(block: EntryBlock) -> Float[Tensor, "rows cols"]:
        x = entries.weighted(trim(block, floor))
        size, sign = agreeing(x, majority(x))
        return size.sum(0).mul_(sign).div_(positive(size).sum(0).clamp_min_(1))

    return merged
