r"""DELLA: drop entries at random, the small ones of a row more often, and merge what is left.

    p_t[i,j] = (density - ε) + 2 ε (rank of |τ_t[i,j]| in row i - 1) / (columns - 1)
    τ̃_t = m_t ⊙ τ_t / p_t,   m_t = 1 with probability p_t, otherwise 0
    γ = sign(Σ_t τ̃_t)
    τ = Σ_t w_t τ̃_t [sign τ̃_t = γ] / number of t that agree          combine = ties
    τ = Σ_t w_t τ̃_t                                                  combine = linear

DARE (method `dare`) keeps all entries with one probability; here the smallest of a row has rank 1
and density - ε, the largest density + ε. Of equal magnitudes the first has the lower rank; a row of
one entry has the density itself, and density 1 drops nothing. The drop rate of the paper is 1 -
density, its window 2 ε, and its λ of 1.1 is the recipe's scale.

Flavor paper is the formula above. Flavor mergekit, as its methods della and della_linear, does not
divide by p: it multiplies each tensor so that the sum of its magnitudes is what it was; it elects
with weights and divides by the weights that agree. Its ε is 0.15 unless given.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space. A row is an output of the delta, or in the other spaces a
direction: a row of A, a column of B. What is dropped depends on the seed, the module and the
adapter's position in the list.

Source: Deep et al., DELLA-Merging, 2024, arXiv:2406.11617; mergekit, sparsify.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import MergeError
from ...factors import Stack, Update
from .._registry import Density, method
from ._drop import Kept, draw_mask, keep_sums
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries
from ._signs import Divisor, merge_agreeing

Flavor = Literal["paper", "mergekit"]
Combine = Literal["ties", "linear"]

_PLACE = 32
"""Bits for an entry's position in its row."""


@method(
    "della",
    paper="Deep et al., 2024, arXiv:2406.11617",
    gauge_invariant=GAUGE_INVARIANT,
    order_invariant=False,
    checked="the worked example; mergekit's della and della_linear, fed the same numbers",
)
def della(
    stack: Stack,
    *,
    density: Density = 0.7,
    epsilon: Annotated[float, Interval(ge=0, lt=0.5)] = 0.07,
    space: Space = "factor",
    flavor: Flavor = "paper",
    combine: Combine = "ties",
    seed: int = 0,
) -> Update:
    """Merge with dropping by magnitude.

    Args:
        stack: The module's updates.
        density: Mean probability that an entry is kept.
        epsilon: How much more it is for a row's largest entry, and less for its smallest.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
        flavor: Divide by the probability (paper), or keep the sum of magnitudes (mergekit).
        combine: Elect signs and average the entries that agree, or sum.
        seed: Seed of the drops.
    """
    divisor: Divisor = "count" if flavor == "paper" else "weights"
    _check(stack, density, epsilon, combine == "ties" and divisor == "weights")

    def rule(entries: Entries) -> Rule:
        drop = _make_drop(stack, entries, density, epsilon, flavor, seed)
        if combine == "linear":
            return lambda block: entries.total(drop(block))
        return lambda block: merge_agreeing(entries, drop(block), divisor)

    return merge_entries(stack, space, rule, folded=True)


def _make_drop(
    stack: Stack, entries: Entries, density: float, epsilon: float, flavor: Flavor, seed: int
) -> Kept:
    def kept(block: EntryBlock) -> Float[Tensor, "task rows cols"]:
        p = _probabilities(block.x, density, epsilon)
        left = block.x * draw_mask(stack, block, p, seed)
        return left.div_(p) if flavor == "paper" else left

    return kept if flavor == "paper" else keep_sums(entries, kept)


def _probabilities(
    x: Float[Tensor, "task rows cols"], density: float, epsilon: float
) -> Float[Tensor, "task rows cols"]:
    """Return the probability with which each entry is kept, by its rank in its row."""
    cols = x.shape[2]
    if density == 1 or cols == 1:
        return torch.full_like(x, density)
    ascending = torch.linspace(
        density - epsilon, density + epsilon, cols, dtype=x.dtype, device=x.device
    )
    return torch.empty_like(x).scatter_(2, ranks_in_rows(x), ascending.expand(x.shape))


def ranks_in_rows(x: Float[Tensor, "task rows cols"]) -> Int[Tensor, "task rows cols"]:
    """Return the rank of each entry in its row by magnitude; equal ones in order."""
    if x.is_cuda or x.dtype != torch.float32:
        return x.abs().argsort(dim=2, stable=True)
    # Its bits sort like a magnitude. With its position behind them none are equal, so that NumPy's
    # sort, several times faster than a stable one, has no choice.
    keys = (x.abs().view(torch.int32).long() << _PLACE) | torch.arange(x.shape[2])
    keys.numpy().sort(axis=2)
    return keys & ((1 << _PLACE) - 1)


def _check(stack: Stack, density: float, epsilon: float, divides_by_weights: bool) -> None:
    where = f"method della, {stack.module}"
    if density < 1 and not 0 < density - epsilon <= density + epsilon <= 1:
        raise MergeError(
            f"density {density} - or + epsilon {epsilon} is no probability above 0",
            where=where,
            hint="choose a smaller epsilon",
        )
    if divides_by_weights and min(stack.weights) < 0:
        raise MergeError(
            f"flavor=mergekit divides by weights, which must not be negative as in "
            f"{list(stack.weights)}",
            where=where,
            hint="combine=linear or flavor=paper can do that",
        )
