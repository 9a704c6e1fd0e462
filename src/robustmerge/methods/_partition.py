"""The k-th largest of many floats, by the integers with the same bits.

The bits of a float, read as an integer, sort like the float; those of negative numbers sort
backwards. NumPy selects among integers many times faster than PyTorch does among floats.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_INTEGERS = {16: torch.int16, 32: torch.int32, 64: torch.int64}  # by the bits of a number


def entries_at(
    x: Float[Tensor, " n"], positions: Sequence[int], *, reorder: bool = False
) -> list[float]:
    """Return the entries of a vector in memory at positions of its ascending order, from 0.

    Args:
        x: The vector, on the CPU.
        positions: The positions, ascending.
        reorder: The vector may be reordered, which saves a copy; none of it is negative.
    """
    if not positions:
        return []
    bits = as_integers(x)
    backwards = not reorder and bits.min().item() < 0
    ascending = (bits if reorder else flip(bits) if backwards else bits.clone()).numpy()
    ascending.partition(positions)
    selected = torch.from_numpy(ascending[positions])
    values: list[float] = (flip(selected) if backwards else selected).view(x.dtype).tolist()
    return values


def as_integers(x: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return the integers with the same bits, in the same memory."""
    return x.view(integers(x.dtype))


def integers(dtype: torch.dtype) -> torch.dtype:
    """Return the integer type of the same size."""
    return _INTEGERS[torch.finfo(dtype).bits]


def flip(bits: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return integers that sort like the floats with these bits; flipped again, the bits."""
    size = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (size.bits - 1)) & size.max)  # all but the sign, where it is negative
