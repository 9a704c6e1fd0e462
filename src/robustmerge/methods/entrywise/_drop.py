"""Random dropping of entries, and scaling up of the others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...factors import Stack
from ._entries import Entries, EntryBlock

Kept = Callable[[EntryBlock], Tensor]
"""What is left of a block: [task rows cols]."""


def draw_mask(
    stack: Stack, block: EntryBlock, keep: float | Tensor, seed: int
) -> Bool[Tensor, "task rows cols"]:
    """Draw the entries that are kept; on the CPU, so that the device does not matter.

    Args:
        stack: The module.
        block: Its entries.
        keep: The probability, one for all entries or one for each.
        seed: Seed of all draws, together with the module, the block and the adapter's position.
    """
    mask = torch.zeros(block.x.shape, dtype=torch.bool)
    p = torch.as_tensor(keep).cpu().expand(mask.shape)
    for t, rows in enumerate(block.own):
        noise = stack.generator(seed, block.name, t)
        mask[t, :rows] = torch.rand(rows, mask.shape[2], generator=noise) < p[t, :rows]
    return mask.to(block.x.device)


def keep_sums(entries: Entries, kept: Kept) -> Kept:
    """Multiply what is left so that each adapter's sum of magnitudes is as before."""
    # [before and after, task]
    sums = torch.zeros(2, len(entries.weights), dtype=torch.float64, device=entries.weights.device)
    for block in entries.blocks():
        for i, x in enumerate((block.x, kept(block))):
            sums[i] += x.abs().sum((1, 2), dtype=torch.float64)
    before, after = sums
    by: Float[Tensor, "task 1 1"] = (before / after).where(after > 0, 1)[:, None, None]
    by = by.to(entries.weights.dtype)
    return lambda block: kept(block) * by
