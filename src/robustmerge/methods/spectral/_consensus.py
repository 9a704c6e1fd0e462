"""TIES on small cores: the largest entries of each adapter, and the mean of those that agree.

Numbers that differ by rounding alone count as equal. In a core that matters: equal adapters give
equal entries, and opposite ones give sums of zero, each up to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...linalg import ROUNDING


def largest(
    x: Float[Tensor, "task rows cols"], counts: Sequence[int]
) -> Float[Tensor, "task rows cols"]:
    """Keep each adapter's `counts` largest entries, and those that equal the smallest of them."""
    size = x[0].numel()
    if size == 0:
        return x
    magnitude = x.abs()
    ordered = magnitude.flatten(1).sort(dim=1, descending=True).values
    last = [ordered[t, min(max(count, 1), size) - 1] for t, count in enumerate(counts)]
    floor = torch.stack(last)[:, None, None] * (1 - ROUNDING)
    return x.where(magnitude >= floor, 0)


def consensus(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "rows cols"]:
    """Return the mean of the entries that have the sign of their sum; 0 where the sum is 0."""
    total = x.sum(0)
    sign = total.sign().where(total.abs() > ROUNDING * x.abs().sum(0), 0)
    agree = ((x.sign() == sign) & (sign != 0)).to(x.dtype)
    return (x * agree).sum(0) / agree.sum(0).clamp_min(1)
