r"""DARE: drop entries at random, scale up what is left, and sum.

    τ = Σ_t w_t τ̃_t          τ̃_t = m_t ⊙ τ_t / p,   m_t = 1 with probability p, otherwise 0

τ are the entries of A and those of B, each merged for itself, or those of the delta (space); p is
the density, the drop rate of the paper is 1 - p. The division by p keeps the expected sum. In
factor space it does so for either factor, hence for their product too, whose variance is larger:
there are cross terms B_t A_u between adapters, and each product of two entries is kept with p^2.
The paper drops 0.9 of full fine-tuning's deltas; the default here is milder.

Tools disagree on the factor: the paper and PEFT divide by p (flavor peft), mergekit multiplies each
tensor so that the sum of its magnitudes is what it was (flavor mergekit).

What is dropped depends on the seed, the module and the adapter's place in the list, and on nothing
else: neither on the other modules nor on how many work.

Source: Yu et al., Language models are Super Mario, ICML 2024, arXiv:2311.03099; PEFT,
utils/merge_utils.py; mergekit, sparsify.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import Density, method
from ._entries import GAUGE_INVARIANT, Block, Entries, Rule, Space, merge_entries

Flavor = Literal["peft", "mergekit"]


@method(
    "dare",
    paper="Yu et al., ICML 2024, arXiv:2311.03099",
    gauge_invariant=GAUGE_INVARIANT,
    order_invariant=False,
    checked="PEFT's combination types dare_linear and dare_linear_svd, fed the same masks",
)
def dare(
    stack: Stack,
    *,
    density: Density = 0.5,
    space: Space = "factor",
    flavor: Flavor = "peft",
    seed: int = 0,
) -> Update:
    """Sum the entries that are left.

    Args:
        stack: The module's updates.
        density: Probability that an entry is kept.
        space: Merge the entries of A and of B, or those of the delta.
        flavor: Divide by the density (peft, and the paper), or keep the sum of magnitudes
            (mergekit).
        seed: What is dropped.
    """

    def rule(entries: Entries) -> Rule:
        drop = dropping(stack, entries, density, flavor, seed)
        return lambda block: entries.total(drop(block))

    return merge_entries(stack, space, rule)


def dropping(
    stack: Stack, entries: Entries, density: float, flavor: Flavor, seed: int
) -> Callable[[Block], Float[Tensor, "task rows cols"]]:
    """How the entries are dropped, and what is left scaled up."""

    def kept(block: Block) -> Float[Tensor, "task rows cols"]:
        return block.x * _mask(stack, block, density, seed)

    if flavor == "peft":
        return lambda block: kept(block) / density
    sums = torch.zeros(2, len(stack), dtype=torch.float64, device=entries.weights.device)
    for block in entries.blocks():
        for i, x in enumerate((block.x, kept(block))):
            sums[i] += x.abs().sum((1, 2), dtype=torch.float64)
    before, after = sums
    by = (before / after).where(after > 0, 1)[:, None, None].to(entries.weights.dtype)
    return lambda block: kept(block) * by


def _mask(stack: Stack, block: Block, density: float, seed: int) -> Bool[Tensor, "task rows cols"]:
    """Which entries are kept; drawn on the CPU, so that the device does not matter."""
    mask = torch.zeros(block.x.shape, dtype=torch.bool)
    for t, rows in enumerate(block.own):
        noise = stack.generator(seed, block.name, t)
        mask[t, :rows] = torch.rand(rows, mask.shape[2], generator=noise) < density
    return mask.to(block.x.device)
