"""Numbers of directions from shares of them."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Interval

Share = Annotated[float, Interval(ge=0, le=1)]
"""A part of a whole, which may be none of it."""


def at_least(share: float, of: int) -> int:
    """Return the share of a number of directions, rounded up."""
    # Rounding in the product must not ask for one direction more.
    return math.ceil(share * of - 1e-9)


def at_most(share: float, of: int) -> int:
    """Return the share of a number of directions, rounded down."""
    return math.floor(share * of + 1e-9)
