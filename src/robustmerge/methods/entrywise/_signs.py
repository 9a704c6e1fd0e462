"""Sign election: one sign per entry, and the merge of the entries that agree with it."""

from __future__ import annotations

from typing import Literal

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


def agreement(
    x: Float[Tensor, "task rows cols"], sign: Float[Tensor, "rows cols"], draw: float = 1.0
) -> Float[Tensor, "task rows cols"]:
    """Return 1 where an entry has the elected sign, or in a draw the sign `draw`; 0 elsewhere."""
    return (x.sign() == sign.where(sign != 0, draw)).to(x.dtype)


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
        x: What is left of a block of them.
        divisor: With count, weights multiply the entries that are summed, but not the votes; with
            weights and nothing, as in mergekit, votes too.
        elect: How.
        draw: The sign that wins a draw.
    """
    votes = x if divisor == "count" else entries.weighted(x)
    agree = agreement(votes, majority(votes, elect), draw)
    total = entries.total(x * agree)
    if divisor == "nothing":
        return total
    by = agree.sum(0) if divisor == "count" else entries.total(agree)
    return total / by.where(by > 0, 1)
