"""Random dropping of entries, and scaling up of the others."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack
from ._entries import Entries, EntryBlock

Kept = Callable[[EntryBlock], Tensor]
"""What is left of a block: [task rows cols]."""


_BITS = 24
"""Random bits of a float32 between 0 and 1."""


def draw_mask(
    stack: Stack, block: EntryBlock, keep: float | Tensor, seed: int
) -> Float[Tensor, "task rows cols"]:
    """Draw 1 for entries that are kept, 0 for others; on the CPU, so that devices do not matter.

    Args:
        stack: The module.
        block: Its entries.
        keep: The probability, one for all entries or one for each.
        seed: Seed of all draws, together with the module, the block and the adapter's position.
    """
    T, height, cols = block.x.shape
    mask = np.empty((T, height, cols), np.float32)
    bound = torch.as_tensor(keep, dtype=torch.float32).cpu() * (1 << _BITS)
    for t, rows in enumerate(block.own):
        noise = stack.generator(seed, block.name, t)
        if bound.ndim:
            kept = draw_below(noise, bound.expand(T, height, cols)[t, :rows].flatten().numpy())
        else:
            kept = draw_below(noise, math.ceil(bound.item()), rows * cols)
        mask[t, :rows], mask[t, rows:] = kept.reshape(rows, cols), 0
    return torch.from_numpy(mask).to(block.x)


def draw_below(
    generator: torch.Generator, bound: int | npt.NDArray[np.float32], count: int = 0
) -> npt.NDArray[np.bool_]:
    """Compare random numbers k from 0 to 2^24 with bounds, k / 2^24 being those of `torch.rand`.

    Drawing two at a time takes 60 percent of the time of `torch.rand`, and NumPy compares many
    times faster than PyTorch.

    Args:
        generator: Where the numbers come from.
        bound: One for each number, or one for all.
        count: How many numbers, where there is one bound for all.
    """
    n = count if isinstance(bound, int) else bound.size
    pairs = torch.empty((n + 1) // 2, dtype=torch.int64).random_(generator=generator).numpy()
    k = pairs.view(np.int32)
    np.bitwise_and(k, (1 << _BITS) - 1, out=k)
    # The upper half of an int64 is drawn first, and comes second in memory.
    if not isinstance(bound, int):
        return np.less(k.reshape(-1, 2)[:, ::-1].reshape(-1)[:n], bound)
    below: npt.NDArray[np.bool_] = (k < bound).view(np.uint16).byteswap().view(np.bool_)
    return below[:n]


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
