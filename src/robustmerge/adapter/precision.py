"""Factors in float16: neither too small for it on one side nor too large on the other.

float16 has 11 bits of precision from 6e-5 to 65504, and fewer below, down to 6e-8. Scalings are
folded into B, whose entries may end up there while A's do not. A direction's factors can be
multiplied and divided by a power of two, which changes no bit of their product, so that both sides
get entries of like size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import MergeError, few
from ..factors import Factors

OWN = 5e-4
"""Share of an update that rounding to float16 takes anyway, about 2^-11."""

_LITTLE_LOST, _MOST_LOST = 0.01, 0.5
_SMALLEST_NORMAL = 2.0**-14  # of float16
_REMARK = "float16 loses more than 1 % of updates this small; --dtype float32 or bfloat16 keep them"


def suit_float16(factors: Factors) -> tuple[Factors, float]:
    """Return factors of the same product that lose least in float16, and the share they lose.

    Factors that lose no more than the type itself are returned as they are. Time: two passes over
    the factors.
    """
    before = _loss(factors.A, factors.B)
    if not OWN < before < math.inf:  # what overflows is refused when it is written
        return factors, 0.0 if before <= OWN else OWN
    sizes = factors.A.abs().amax(dim=1), factors.B.abs().amax(dim=0)  # [rank] each
    powers = (torch.log2(sizes[0] / sizes[1]) / 2).round()
    powers = powers.nan_to_num(0, 0, 0)  # directions that are zero
    balanced = Factors(factors.A * torch.exp2(-powers)[:, None], factors.B * torch.exp2(powers))
    after = _loss(balanced.A, balanced.B)
    return (balanced, after) if after < before else (factors, before)


def fit_float16(factors: Factors) -> tuple[Factors, str]:
    """Return factors as `suit_float16` does, and a remark on what they lose, '' if little.

    Raises:
        MergeError: nearly all of the update is lost.
    """
    fitting, loss = suit_float16(factors)
    if loss > _MOST_LOST:
        raise MergeError(
            f"float16 loses {loss:.0%} of an update, whose entries are too small for it",
            hint="--dtype float32 or bfloat16; in a merge, a larger --scale does, too",
        )
    return fitting, _REMARK if loss > _LITTLE_LOST else ""


def check_float16(tensor: Tensor, stored: Tensor, name: str) -> None:
    """Check that a tensor in float16 is still there: values below 6e-8 are rounded to zero.

    Time: one pass over the tensor; more only where no value is above 6e-5, below which the type
    rounds more than its own share.

    Args:
        tensor: The tensor.
        stored: The same in float16.
        name: Its name, for the error.

    Raises:
        MergeError: rounding took half of its norm or more.
    """
    if _share_lost(tensor, stored) > _MOST_LOST:
        reach = float(tensor.abs().max())
        raise MergeError(
            f"float16 loses half of this tensor or more: its values reach only {reach:.3g}",
            where=name,
            hint="--dtype float32 or bfloat16, which hold values this small",
        )


def loses_in_float16(tensor: Tensor) -> bool:
    """Decide whether float16 takes more than 1 % of a tensor. Time: as `check_float16`."""
    return _share_lost(tensor, tensor.half()) > _LITTLE_LOST


def remark_losses(names: Sequence[str]) -> tuple[str, ...]:
    """Return a warning about tensors of which float16 takes more than 1 %, or none."""
    text = f"float16 loses more than 1 % of {few(list(dict.fromkeys(names)))}"
    return (f"{text}; --dtype float32 or bfloat16 keep what is so small",) if names else ()


def _share_lost(tensor: Tensor, stored: Tensor) -> float:
    """Return the share of its norm that a tensor loses in float16, 0 where it is the type's own."""
    low, high = (float(end) for end in tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
    if not 0 < max(-low, high) <= _SMALLEST_NORMAL:
        return 0.0
    exact = tensor.to("cpu", torch.float64)
    return float((stored.to("cpu", torch.float64) - exact).norm() / exact.norm())


def _loss(A: Tensor, B: Tensor) -> float:
    """Return the share of an update that rounding takes; directions count as orthogonal."""
    a, b = A.double(), B.double()
    wrong_a = (A.half().double() - a).square().sum(dim=1)  # [rank]
    wrong_b = (B.half().double() - b).square().sum(dim=0)
    size_a, size_b = a.square().sum(dim=1), b.square().sum(dim=0)
    whole = float((size_a * size_b).sum())
    wrong = float((wrong_a * size_b + size_a * wrong_b).sum())
    return math.sqrt(wrong / whole) if whole else 0.0
