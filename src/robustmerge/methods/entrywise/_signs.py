"""Sign election: one sign per entry, and the merge of the entries that agree with it."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ._entries import Entries

Elect = Literal["total", "frequency"]
Divisor = Literal["count", "weights", "nothing"]
"""What the sum over those that agree is divided by: their number, their weights, nothing."""


def majority(x: Float[Tensor, "task rows cols"], by: Elect = "total") -> Float[Tensor, "rows cols"]:
    """Return the sign of each entry's sum over adapters, or of its signs' sum; 0 in a draw."""
    votes = x.sign() if by == "frequency" else x
    return votes.sum(0).sign()


def agreeing(
    x: Float[Tensor, "task rows cols"],
    sign: Float[Tensor, "rows cols"],
    draw: float = 1.0,
    *,
    out: Float[Tensor, "task rows cols"] | None = None,
) -> tuple[Float[Tensor, "task rows cols"], Float[Tensor, "rows cols"]]:
    """Return the magnitudes of the entries that have the elected sign, and the sign.

    Args:
        x: The entries.
        sign: The elected sign, 0 in a draw.
        draw: The sign that wins a draw.
        out: Memory for the magnitudes, which may be the entries'.

    Returns:
        Magnitudes, 0 where an entry does not agree, and signs without draws.
    """
    sign = _decided(sign, draw)
    return torch.mul(x, sign, out=out).clamp_min_(0), sign


def positive(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "task rows cols"]:
    """Return 1 where an entry is above 0; comparisons to floats are faster than those to bools."""
    return torch.gt(x, 0, out=torch.empty_like(x))


def _decided(sign: Float[Tensor, "rows cols"], draw: float) -> Float[Tensor, "rows cols"]:
    """Return the signs with draws decided."""
    # Between 1 and -1 a draw is 0, and half of `draw` changes no other sign.
    return (sign + draw / 2).sign_()


def merge_agreeing(
    entries: Entries,
    x: Float[Tensor, "task rows cols"],
    divisor: Divisor,
    *,
    elect: Elect = "total",
    draw: float = 1.0,
) -> Float[Tensor, "rows cols"]:
    """Elect a sign per entry and merge the entries that agree.

    Args:
        entries: The vectors, for their weights.
        x: What is left of a block of them; it is written over.
        divisor: With count, weights multiply the entries that are summed, but not the votes; with
            weights and nothing, as in mergekit, votes too.
        elect: How.
        draw: The sign that wins a draw.
    """
    votes = x if divisor == "count" else entries.weighted(x)
    size, sign = agreeing(votes, majority(votes, elect), draw, out=votes)
    # Weights are in the votes, or are to be applied now.
    total = (entries.total(size) if divisor == "count" else size.sum(0)).mul_(sign)
    if divisor == "nothing":
        return total
    agree = size.gt_(0)
    by = agree.sum(0) if divisor == "count" else entries.total(agree)
    return total.div_(by.add_(torch.eq(by, 0, out=torch.empty_like(by))))
