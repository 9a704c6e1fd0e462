"""Pruning: which entries of a tensor are the largest, exactly and fast."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def kth_magnitude(x: Float[Tensor, "..."], k: int) -> float:
    """The k-th smallest absolute value (1-based), exactly.

    On a CPU the magnitudes of floats sort like the integers with the same bits, and NumPy selects
    among integers many times faster than `torch.kthvalue` among floats.
    """
    magnitude = x.abs().flatten()
    if magnitude.is_cuda or magnitude.dtype not in _BITS:
        return float(magnitude.kthvalue(k).values)
    bits = magnitude.numpy().view(_BITS[magnitude.dtype])
    bits.partition(k - 1)
    return float(bits[k - 1 : k].view(magnitude.numpy().dtype)[0])


def keep_largest(x: Float[Tensor, "..."], count: int) -> Float[Tensor, "..."]:
    """Zero all but the `count` largest magnitudes; ties with the smallest kept one are kept too."""
    if count <= 0:
        return torch.zeros_like(x)
    if count >= x.numel():
        return x
    threshold = kth_magnitude(x, x.numel() - count + 1)
    return x.where(x.abs() >= threshold, 0)


_BITS = {torch.float32: np.uint32, torch.float64: np.uint64, torch.float16: np.uint16}
