"""Random dropping of entries, and scaling up of the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...factors import Stack
from ._entries import Entries, EntryBlock

Kept = Callable[[EntryBlock], Tensor]
"""What is left of a block: [task rows cols], in its scratch memory."""


BITS = 24
"""Bits of a probability, as many as `torch.rand` has for a float32 between 0 and 1."""
_FIRST = 8
"""Those that are drawn for every entry; they decide but for one in 256, which draws the others."""


def draw_mask(
    stack: Stack, block: EntryBlock, keep: float, seed: int
) -> Float[Tensor, "task rows cols"]:
    """Draw 1 for entries that are kept, 0 for others; on the CPU, so that devices do not matter.

    Args:
        stack: The module.
        block: Its entries.
        keep: The probability.
        seed: Seed of all draws, together with the module, the block and the adapter's position.

    Returns:
        The block's scratch memory.
    """
    mask = block.scratch()
    for t, rows in enumerate(block.own):
        kept = draw_kept(stack.bits(seed, block.name, t), keep, rows * mask.shape[2])
        mask[t, :rows] = kept.view(rows, mask.shape[2])
        mask[t, rows:] = 0
    return mask


def draw_kept(bits: np.random.SFC64, keep: float, count: int) -> UInt8[Tensor, " n"]:
    """Draw 1 with a probability, which is rounded up to a multiple of 2^-24, otherwise 0."""
    first, rest = divmod(math.ceil(keep * (1 << BITS)), 1 << (BITS - _FIRST))
    drawn = draw_integers(bits, count, np.uint8)
    kept = np.less(drawn, first)
    if rest:
        undecided = np.flatnonzero(drawn == first)
        kept[undecided] = draw_integers(bits, len(undecided), np.uint16) < rest
    return torch.from_numpy(kept.view(np.uint8))  # which torch copies faster than truth values


def draw_integers(
    bits: np.random.SFC64, count: int, dtype: type[np.unsignedinteger[Any]]
) -> npt.NDArray[Any]:
    """Draw integers of a type, the same on every machine."""
    words = bits.random_raw(-(-count * np.dtype(dtype).itemsize // 8))
    little = np.dtype(dtype).newbyteorder("<")
    drawn: npt.NDArray[Any] = words.astype("<u8", copy=False).view(little)[:count]
    return drawn


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
    return lambda block: kept(block).mul_(by)
