"""Sign election: one sign per entry, and who agrees with it."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Elect = Literal["total", "frequency"]


def majority(x: Float[Tensor, "task rows cols"], by: Elect = "total") -> Float[Tensor, "rows cols"]:
    """The sign of each entry's sum over adapters, or of the sum of its signs; 0 in a draw."""
    votes = x.sign() if by == "frequency" else x
    return votes.sum(0).sign()


def agreeing(
    x: Float[Tensor, "task rows cols"], sign: Float[Tensor, "rows cols"], draw: float = 1.0
) -> Float[Tensor, "task rows cols"]:
    """1 where an entry has the elected sign, or in a draw the sign `draw`; 0 elsewhere."""
    return (x.sign() == sign.where(sign != 0, draw)).to(x.dtype)
