"""Pruning: keep the largest entries of each factor, exactly and fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors
from .._partition import entries_at


def prune_factors(factors: Factors, density: float) -> Factors:
    """Keep the largest entries of A and of B."""
    return Factors(largest(factors.A, density), largest(factors.B, density))


def largest(x: Float[Tensor, "a b"], density: float) -> Float[Tensor, "a b"]:
    """Keep the largest entries.

    The released threshold is the int(n (1 - density))-th smallest magnitude, itself kept, so that
    one entry more than the density says survives.
    """
    return keep_largest(x, x.numel() - int(x.numel() * (1 - density)) + 1)


def keep_largest(x: Float[Tensor, "..."], count: int) -> Float[Tensor, "..."]:
    """Zero all but the `count` largest magnitudes; ties with the smallest kept one are kept too."""
    if count <= 0:
        return torch.zeros_like(x)
    if count >= x.numel():
        return x
    magnitude = x.abs()
    threshold = _kth(magnitude, x.numel() - count + 1)
    if x.dtype not in _FLOATS:
        return x.where(x.abs() >= threshold, 0)
    # hardshrink keeps what is above its bound, 20 times faster than `where`; and memory that was
    # written a moment ago is faster than new memory.
    number = _FLOATS[x.dtype]
    just_below = np.nextafter(number(threshold), number(-1))
    return torch.hardshrink(x, float(just_below), out=magnitude)


def _kth(magnitude: Float[Tensor, "..."], k: int) -> float:
    """Return the k-th smallest (from 1) of numbers that are not negative; reorder them in place."""
    flat = magnitude.flatten()
    if flat.is_cuda:
        return float(flat.kthvalue(k).values)
    return entries_at(flat, [k - 1], reorder=True)[0]


_FLOATS: Mapping[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}
