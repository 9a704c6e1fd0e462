r"""DARE: drop entries at random, scale up what is left, and sum.

    τ = Σ_t w_t τ̃_t          τ̃_t = m_t ⊙ τ_t / p,   m_t = 1 with probability p, otherwise 0

τ are the entries of A and those of B, each merged for itself, or those of another space; p is the
density, the drop rate of the paper is 1 - p. The division by p keeps the expected sum. In factor
space it does so for either factor, hence for their product too, whose variance is larger: there are
cross terms B_t A_u between adapters, and each product of two entries is kept with p^2. The paper
drops 0.9 of full fine-tuning's deltas; the default here is milder.

Tools disagree on the factor: the paper and PEFT divide by p (flavor peft), mergekit multiplies each
tensor so that the sum of its magnitudes is what it was (flavor mergekit; mergekit itself does not
where that sum is below 1e-7).

What is dropped depends on the seed, the module and the adapter's position in the list only, neither
on the other modules nor on the number of workers.

Source: Yu et al., Language models are Super Mario, ICML 2024, arXiv:2311.03099; PEFT,
utils/merge_utils.py; mergekit, sparsify.py.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import Density, method
from ._drop import Kept, draw_mask, keep_sums
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries

Flavor = Literal["peft", "mergekit"]


@method(
    "dare",
    paper="Yu et al., ICML 2024, arXiv:2311.03099",
    gauge_invariant=GAUGE_INVARIANT,
    order_invariant=False,
    checked="PEFT's combination types dare_linear and dare_linear_svd, and mergekit's "
    "dare_linear, fed the same masks",
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
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
        flavor: Divide by the density (peft, and the paper), or keep the sum of magnitudes
            (mergekit).
        seed: Seed of the drops.
    """

    def rule(entries: Entries) -> Rule:
        drop = make_drop(stack, entries, density, flavor, seed)
        return lambda block: entries.total(drop(block))

    return merge_entries(stack, space, rule, whole_rows=True)


def make_drop(stack: Stack, entries: Entries, density: float, flavor: Flavor, seed: int) -> Kept:
    """Return the function that drops entries of a block and scales up the others."""

    def kept(block: EntryBlock) -> Float[Tensor, "task rows cols"]:
        return draw_mask(stack, block, density, seed).mul_(block.x)

    if flavor == "mergekit":
        return keep_sums(entries, kept)
    return lambda block: kept(block).div_(density)
