"""Pruning: keep the largest entries of each factor, and measure what is left of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors
from .._bracket import NUMPY, entries_in_memory


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
    if x.dtype not in NUMPY:
        return x.where(x.abs() >= threshold, 0)
    # hardshrink keeps what is above its bound, 20 times faster than `where`; and memory that was
    # written a moment ago is faster than new memory.
    number = NUMPY[x.dtype]
    just_below = np.nextafter(number(threshold), number(-1))
    return torch.hardshrink(x, float(just_below), out=magnitude)


def _kth(magnitude: Float[Tensor, "..."], k: int) -> float:
    """Return the k-th smallest (from 1) of numbers that are not negative; reorder them in place."""
    flat = magnitude.flatten()
    if flat.is_cuda:
        return float(flat.kthvalue(k).values)
    return entries_in_memory(flat, [k - 1], reorder=True)[0]


def row_norms(A: Float[Tensor, "n _"], rank: int) -> Float[Tensor, " rank"]:
    """Return the L1 norm of each row, zeros appended up to `rank`."""
    return torch.nn.functional.pad(A.abs().sum(1), (0, rank - len(A)))


def scales(
    before: Float[Tensor, "*task n"], left: Float[Tensor, "*task n"], clamp: float
) -> Float[Tensor, "*task n"]:
    """Return before / left, raised to the clamp quantile of its row; 0 where nothing is left."""
    S = before / left  # infinite or NaN, so sorted last, where nothing is left
    if clamp > 0:
        alive = (left > 0).sum(-1, keepdim=True)
        quantile = (alive.double() * clamp).long().clamp_max(left.shape[-1] - 1)
        S = S.maximum(S.sort(-1).values.gather(-1, quantile))
    return S.where(left > 0, 0)


def note_pruned(S: Float[Tensor, "task rank"], ranks: Sequence[int]) -> tuple[str, ...]:
    """Return a remark on the directions of which nothing is left."""
    dead = [
        f"direction {i} of adapter {t + 1}"
        for t, (row, rank) in enumerate(zip(S.tolist(), ranks, strict=True))
        for i in range(rank)
        if row[i] == 0
    ]
    return (f"pruned whole, no part in the merge: {', '.join(dead)}",) if dead else ()
