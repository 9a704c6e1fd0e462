"""Trimming: keep the largest entries of each adapter's vector, wherever its blocks come from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ._entries import Blocks, EntryBlock, vectors
from ._select import select


def floors(
    blocks: Blocks, density: float, *, extra: int = 0, least: int = 0
) -> Float[Tensor, "task 1 1"]:
    """Return the smallest magnitude that each adapter keeps, of n entries int(n density).

    Args:
        blocks: The vectors.
        density: Share of entries that is kept.
        extra: How many more.
        least: How many at least.
    """
    floor = select(
        vectors(blocks, lambda block: torch.abs(block.x, out=block.scratch())),
        lambda n: (max(n - max(int(n * density) + extra, least), 0),),
    )
    return floor[:, :, None]  # [task, 1, 1]


def trim(block: EntryBlock, floor: Float[Tensor, "task 1 1"]) -> Float[Tensor, "task rows cols"]:
    """Zero what is smaller than its adapter's floor; magnitudes equal to it are all kept.

    Returns:
        The block's scratch memory.
    """
    # hardshrink zeros what is not above its bound, several times faster than a mask.
    below = torch.nextafter(floor, -torch.ones_like(floor)).flatten().tolist()
    kept = block.scratch()
    for x, bound, out in zip(block.x, below, kept, strict=True):
        torch.hardshrink(x, bound, out=out)
    return kept
