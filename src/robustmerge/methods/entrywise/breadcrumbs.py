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

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import Density, Quantile, method
from ._entries import (
    GAUGE_INVARIANT,
    Blocks,
    Entries,
    EntryBlock,
    Rule,
    Space,
    merge_entries,
    vectors,
)
from ._select import select
from ._signs import merge_agreeing

Between = Callable[[EntryBlock], Tensor]
"""What is left of a block: [task rows cols], in its scratch memory."""

_LOWER = 15
"""Bits of a magnitude after the upper 16; its sign, 0, is the 32nd."""


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
            return lambda block: entries.total(between(block))
        return lambda block: merge_agreeing(entries, between(block), "nothing")

    return merge_entries(stack, space, rule, whole_rows=flavor == "paper")


def _within_rows(density: float, gamma: float) -> Between:
    def between(block: EntryBlock) -> Float[Tensor, "task rows cols"]:
        x = block.x
        n = x.shape[2]
        out, keep = int(n * gamma), int(n * density)
        if not keep or out >= n:
            return torch.zeros_like(x)
        size = torch.abs(x, out=block.scratch(1))
        bounds = bounds_in_rows(size, max(n - out - keep, 0), n - out - 1)
        return _between(block, size, *bounds)

    return between


def bounds_in_rows(
    size: Float[Tensor, "task rows cols"], *positions: int
) -> tuple[Float[Tensor, "task rows 1"], ...]:
    """Return the magnitudes at positions of each row's ascending order.

    The bits of a magnitude, read as an integer, sort like it. NumPy sorts 16 bits without
    comparisons: that gives the upper half of the statistic, and how many of the row are below it;
    the few entries that share this half are sorted whole.
    """
    if not size.is_cpu or size.dtype != torch.float32:
        ordered = size.sort(dim=2).values
        return tuple(ordered[:, :, p, None] for p in positions)
    bits = size.view(torch.int32).flatten(0, 1).numpy()  # [task·rows, cols]
    halves = (bits >> _LOWER).astype(np.uint16)
    ordered_halves = np.sort(halves, axis=1, kind="stable")
    shape = (*size.shape[:2], 1)
    return tuple(
        torch.from_numpy(_whole(bits, halves, ordered_halves, p)).view(torch.float32).view(shape)
        for p in positions
    )


def _whole(
    bits: npt.NDArray[np.int32],
    halves: npt.NDArray[np.uint16],
    ordered: npt.NDArray[np.uint16],
    position: int,
) -> npt.NDArray[np.int32]:
    """Return the number at a position of each row's order, of which the upper half is known."""
    own = ordered[:, position, None]
    below = (ordered == own).argmax(axis=1)  # the first of them
    alike = np.flatnonzero(halves == own)
    rows = alike // bits.shape[1]
    # Sorted by row, and within it by the number, which has 31 bits.
    keys = np.sort((rows << 32) | bits.reshape(-1)[alike])
    starts = np.searchsorted(rows, np.arange(len(bits)))
    whole: npt.NDArray[np.int32] = keys[starts + position - below].astype(np.int32)
    return whole


def _within_tensors(blocks: Blocks, density: float, gamma: float) -> Between:
    def ends(n: int) -> tuple[int, int]:
        keep, out = int(density * n), int(gamma * n)
        start = max(n - keep - out, 0)
        return (start, start + keep - 1) if keep else (n, n)

    # [task, low and high, 1]
    magnitudes = vectors(blocks, lambda block: torch.abs(block.x, out=block.scratch()))
    bounds = select(magnitudes, ends)[:, :, None]

    def between(block: EntryBlock) -> Float[Tensor, "task rows cols"]:
        size = torch.abs(block.x, out=block.scratch(1))
        return _between(block, size, bounds[:, :1], bounds[:, 1:])

    return between


def _between(
    block: EntryBlock,
    size: Float[Tensor, "task rows cols"],
    low: Float[Tensor, "task _ 1"],
    high: Float[Tensor, "task _ 1"],
) -> Float[Tensor, "task rows cols"]:
    # Comparisons to floats are several times faster than those to bools.
    left = torch.ge(size, low, out=block.scratch()).mul_(block.x)
    return left.mul_(torch.le(size, high, out=size))
