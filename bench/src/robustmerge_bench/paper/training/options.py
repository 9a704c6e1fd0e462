"""What the numbers among the options of a training may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from robustmerge.errors import MergeError


@dataclass(frozen=True)
class NumberRange:
    """Numbers that are possible.

    Attributes:
        words: Which they are.
        holds: Whether a number is one of them.
    """

    words: str
    holds: Callable[[float], bool]


COUNT = NumberRange("1 or more", lambda value: value >= 1)
RATE = NumberRange("a number above 0", lambda value: 0 < value < math.inf)
AMOUNT = NumberRange("0 or more", lambda value: 0 <= value < math.inf)
SHARE = NumberRange("0 or more, and below 1", lambda value: 0 <= value < 1)
SEED = NumberRange("from 0 to 4294967295", lambda value: 0 <= value < 2**32)


def check(settings: object, allowed: NumberRange, *names: str) -> None:
    """Check settings that are called as their options; None stands for one that is not given.

    Raises:
        MergeError: One is out of its range.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not allowed.holds(value):
            option = f"--{name.replace('_', '-')}"
            raise MergeError(f"{option} {value}", where=option, hint=allowed.words)
