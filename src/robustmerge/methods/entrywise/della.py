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

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Interval
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import MergeError
from ...factors import Stack, Update
from .._registry import Density, method
from ._drop import BITS, Kept, draw_integers, keep_sums
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries
from ._signs import Divisor, merge_agreeing

Flavor = Literal["paper", "mergekit"]
Combine = Literal["ties", "linear"]

_HALF = 16
"""Bits that are sorted at a time."""


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

    return merge_entries(stack, space, rule, folded=True, whole_rows=True)


def _make_drop(
    stack: Stack, entries: Entries, density: float, epsilon: float, flavor: Flavor, seed: int
) -> Kept:
    p = _probabilities(entries.shape[1], density, epsilon)
    bounds = (p * (1 << BITS)).ceil().int()
    factors = (1 / p if flavor == "paper" else torch.ones_like(p)).to(entries.weights)

    def kept(block: EntryBlock) -> Float[Tensor, "task rows cols"]:
        left = block.scratch()
        for t, rows in enumerate(block.own):
            drawn = draw_integers(stack.bits(seed, block.name, t), rows * len(p), np.uint32) >> 8
            numbers = torch.from_numpy(drawn.astype(np.int32)).view(rows, len(p))
            order = order_in_rows(block.x[t, :rows])
            below = numbers.gather(1, order.cpu()) < bounds  # by ascending magnitude
            left[t, :rows].scatter_(1, order, below.view(torch.uint8).to(left.device) * factors)
            left[t, rows:] = 0
        return left.mul_(block.x)

    return kept if flavor == "paper" else keep_sums(entries, kept)


def _probabilities(cols: int, density: float, epsilon: float) -> Float[Tensor, " cols"]:
    """Return the probability with which each entry of a row is kept, the smallest first."""
    if density == 1 or cols == 1:
        epsilon = 0
    return torch.linspace(density - epsilon, density + epsilon, cols, dtype=torch.float64)


def order_in_rows(x: Float[Tensor, "rows cols"]) -> Int[Tensor, "rows cols"]:
    """Return the positions of each row's entries by ascending magnitude; equal ones in order."""
    size = x.abs()
    if x.is_cuda or x.dtype != torch.float32:
        return size.argsort(dim=1, stable=True)
    # The bits of a magnitude sort like it. NumPy sorts 16 of them at a time, without comparisons:
    # first the lower ones, and then, stably, the upper ones.
    bits = size.view(torch.int32).numpy()
    lower, upper = bits.astype(np.uint16), (bits >> _HALF).astype(np.int16)
    first = _order(lower)
    second = _order(torch.from_numpy(upper).gather(1, first).numpy().view(np.uint16))
    return first.gather(1, second)


def _order(x: npt.NDArray[np.uint16]) -> Int[Tensor, "rows cols"]:
    return torch.from_numpy(x.argsort(axis=1, kind="stable"))


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
