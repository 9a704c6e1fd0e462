r"""Model Breadcrumbs: leave out each adapter's smallest entries and its very largest, and sum.

    τ = Σ_t w_t τ̂_t          τ̂_t = τ_t without a share γ of largest entries,
                                   and of those that are left the largest share `density`

Small entries are noise; the few largest are outliers that merged models suffer from. Of n entries
int(n γ) are left out and the next int(n density) kept; equal magnitudes at either end are all kept.

    flavor     n entries are       where density and γ do not fit
    paper      a row               fewer are kept
    mergekit   the whole tensor    fewer outliers are left out; with density 1 none

With combine ties signs are elected by the weighted sum and those that agree are summed, as in
mergekit's breadcrumbs_ties; the paper knows the sum only. Its α of about 0.2 is the recipe's scale.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space. A row is an output of the delta, or in the other spaces a
direction: a row of A, a column of B.

Source: Davari and Belilovsky, Model Breadcrumbs, ECCV 2024, arXiv:2312.06795; mergekit,
sparsify.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._partition import integers
from .._registry import Density, Quantile, method
from ._entries import GAUGE_INVARIANT, Blocks, Entries, Rule, Space, merge_entries, vectors
from ._select import select
from ._signs import merge_agreeing


@method(
    "breadcrumbs",
    paper="Davari and Belilovsky, ECCV 2024, arXiv:2312.06795",
    gauge_invariant=GAUGE_INVARIANT,
    checked="the worked example; mergekit's breadcrumbs and breadcrumbs_ties",
)
def breadcrumbs(
    stack: Stack,
    *,
    density: Density = 0.15,
    gamma: Quantile = 0.006,
    space: Space = "factor",
    flavor: Literal["paper", "mergekit"] = "paper",
    combine: Literal["linear", "ties"] = "linear",
) -> Update:
    """Sum the entries of middling size.

    Args:
        stack: The module's updates.
        density: Share of entries that is kept.
        gamma: Share of entries, largest first, that is left out before.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
        flavor: Look at each row (paper) or at each tensor (mergekit).
        combine: Sum, or elect signs and sum the entries that agree.
    """

    def rule(entries: Entries) -> Rule:
        if flavor == "paper":
            between = _within_rows(density, gamma)
        else:
            between = _within_tensors(entries.blocks, density, gamma)
        if combine == "linear":
            return lambda block: entries.total(between(block.x))
        return lambda block: merge_agreeing(entries, between(block.x), "nothing")

    return merge_entries(stack, space, rule)


def _within_rows(density: float, gamma: float) -> Callable[[Tensor], Tensor]:
    def between(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "task rows cols"]:
        n = x.shape[2]
        out, keep = int(n * gamma), int(n * density)
        if not keep or out >= n:
            return torch.zeros_like(x)
        return _between(x, *_in_rows(x.abs(), max(n - out - keep, 0), n - out - 1))

    return between


def _in_rows(
    size: Float[Tensor, "task rows cols"], low: int, high: int
) -> tuple[Float[Tensor, "task rows 1"], Float[Tensor, "task rows 1"]]:
    """Return the magnitudes at two positions of each row's ascending order."""
    if not size.is_cpu:
        ordered = size.sort(dim=2).values
        return ordered[:, :, low, None], ordered[:, :, high, None]
    # The bits of a magnitude sort like it, and NumPy selects among integers several times faster.
    bits = size.view(integers(size.dtype)).clone().numpy()
    bits.partition(sorted({low, high}), axis=2)
    low_bits, high_bits = (torch.from_numpy(bits[:, :, p, None]) for p in (low, high))
    return low_bits.view(size.dtype), high_bits.view(size.dtype)


def _within_tensors(blocks: Blocks, density: float, gamma: float) -> Callable[[Tensor], Tensor]:
    def ends(n: int) -> tuple[int, int]:
        keep, out = int(density * n), int(gamma * n)
        start = max(n - keep - out, 0)
        return (start, start + keep - 1) if keep else (n, n)

    # [task, low and high, 1]
    bounds = select(vectors(blocks, lambda block: block.x.abs()), ends)[:, :, None]
    return lambda x: _between(x, bounds[:, :1], bounds[:, 1:])


def _between(
    x: Float[Tensor, "task rows cols"],
    low: Float[Tensor, "task _ 1"],
    high: Float[Tensor, "task _ 1"],
) -> Float[Tensor, "task rows cols"]:
    size, left = x.abs(), torch.empty_like(x)
    # Comparisons to floats are several times faster than those to bools.
    torch.ge(size, low, out=left).mul_(x)
    return left.mul_(torch.le(size, high, out=size))
