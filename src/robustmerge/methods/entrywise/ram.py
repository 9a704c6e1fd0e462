r"""RAM: average the entries that several adapters changed, keep whole what one alone changed.

    changed_t = [ |τ_t| > ε ]                      τ_t the updates, weights included
    τ[j] = mean of τ_t[j] over the adapters that changed it

plus (RAM+) multiplies what adapter t alone changed by 1 + r min(ρ_t, α), ρ_t being the number of
entries that it changed together with others over the number that it changed alone.

Averages dilute what is one task's own; here they are taken only where there is something to
average. Reinforcement learning, which it was made for, leaves many weights as they are, and the
authors call changed what is above ε = 1e-5. Low-rank updates leave none, and which are small is a
matter of their scaling. So ε is relative here: `epsilon` times the root mean square of the adapter
where that is largest, which is 1e-5 for updates whose entries are about 1e-4. ρ is counted within
each module, as in mergekit's ramplus_tl.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space; the method was made for deltas.

Source: Reinforced Agent Merging, 2026, arXiv:2601.13572; mergekit, merge_methods/ram.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import method
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries

NotNegative = Annotated[float, Interval(ge=0)]
Changed = Callable[[Tensor], Tensor]
"""What is left of entries where they changed: [task rows cols]."""


@method(
    "ram",
    paper="Reinforced Agent Merging, 2026, arXiv:2601.13572",
    gauge_invariant=GAUGE_INVARIANT,
    checked="the worked example; mergekit's ram and ramplus_tl, at the same threshold",
)
def ram(
    stack: Stack,
    *,
    epsilon: NotNegative = 0.1,
    plus: bool = False,
    r: NotNegative = 0.1,
    alpha: NotNegative = 0.2,
    space: Space = "factor",
) -> Update:
    """Average what is shared.

    Args:
        stack: The module's updates.
        epsilon: Size above which an entry counts as changed, relative to that of all entries.
        plus: RAM+: strengthen what an adapter alone changed.
        r: By how much (plus only).
        alpha: ρ is at most this (plus only).
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
    """

    def rule(entries: Entries) -> Rule:
        threshold = epsilon * _size(entries)

        def changed(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "task rows cols"]:
            return torch.hardshrink(x, threshold)

        alone = r * _ratios(entries, changed).clamp_max(alpha) if plus else None

        def merge(block: EntryBlock) -> Float[Tensor, "rows cols"]:
            x = changed(entries.weighted(block.x))
            count = _count(x)
            mean = x.sum(0).div_(count.clamp_min(1))
            if alone is None:
                return mean
            # Where one adapter alone changed an entry, the mean is that entry.
            own = torch.tensordot(alone.to(x), x, dims=1)
            return mean.add_(own.where(count == 1, 0))

        return merge

    return merge_entries(stack, space, rule)


def _size(entries: Entries) -> float:
    """Return the root mean square of the adapter where it is largest."""
    squares = torch.zeros(len(entries.weights), dtype=torch.float64)
    count = squares.clone()
    for block in entries.blocks():
        # Of a row in its own type, of the rows in float64.
        lengths = torch.linalg.vector_norm(entries.weighted(block.x), dim=2)
        squares += lengths.double().square().sum(1).cpu()
        count += torch.tensor(block.own) * block.x.shape[2]
    return float((squares / count.clamp_min(1)).max().sqrt())


def _count(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "rows cols"]:
    """Count the adapters that changed an entry."""
    return torch.ne(x, 0, out=torch.empty_like(x)).sum(0)


def _ratios(entries: Entries, changed: Changed) -> Float[Tensor, " task"]:
    """Return ρ: the entries each adapter changed with others, over those it changed alone."""
    shared = torch.zeros(len(entries.weights), dtype=torch.float64, device=entries.weights.device)
    alone = shared.clone()
    for block in entries.blocks():
        takes = changed(entries.weighted(block.x)) != 0
        count = takes.sum(0)
        shared += (takes & (count > 1)).sum((1, 2))
        alone += (takes & (count == 1)).sum((1, 2))
    return shared / alone.clamp_min(1)
