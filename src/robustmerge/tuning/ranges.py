"""Ranges that a search draws from, and what a user may say of them.

    Range      numbers from low to high, uniform, or uniform in their logarithm
    Choices    words

The range of a method's parameter follows from its declaration: choices and both bounds as they are;
where one bound is open, a tenth to ten times the default. A default below a tenth of the span is
a matter of magnitude and is searched in its logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..errors import MergeError
from ..parameters import Parameter

_EDGE = 0.01
"""Share of the span by which a range stays away from a bound that does not belong to it."""
_FACTOR = 10.0
"""Where a bound is open: a range goes to so many times the default, and to its like below."""
_SMALL = 0.1
"""A default below this share of the span is searched in its logarithm."""
_WIDE = 100
"""Whole numbers that span more are searched in their logarithm."""
_DIGITS = 4
"""Significant digits of a drawn number, so that recipes can be read."""


@runtime_checkable
class Suggests(Protocol):
    """A trial of Optuna, as far as it is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a number."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Draw a whole number."""
        ...

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Draw a choice."""
        ...


@dataclass(frozen=True)
class Range:
    """Numbers from low to high.

    Attributes:
        log: Uniform in the logarithm.
        whole: Whole numbers only.
    """

    low: float | int
    high: float | int
    log: bool = False
    whole: bool = False

    def draw(self, trial: Suggests, name: str) -> float | int:
        """Let a trial choose a number."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        number = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{number:.{_DIGITS}g}"), self.low), self.high)

    def nearest(self, value: float | int) -> float | int:
        """Return the number of the range that is nearest to a value."""
        return min(max(value, self.low), self.high)

    def including(self, value: float | int) -> Range:
        """Return the range, wider where it does not have this value."""
        low, high = min(self.low, value), max(self.high, value)
        return Range(low, high, self.log and low > 0, self.whole)


@dataclass(frozen=True)
class Choices:
    """A few values."""

    values: tuple[Any, ...]

    def draw(self, trial: Suggests, name: str) -> Any:
        """Let a trial choose a value."""
        return trial.suggest_categorical(name, list(self.values))

    def nearest(self, value: Any) -> Any:
        """Return the value, which is one of the choices."""
        return value


def range_of(parameter: Parameter) -> Range | Choices:
    """Return what a search draws a method's parameter from, by its declaration."""
    if parameter.choices:
        return Choices(parameter.choices)
    if parameter.type is bool:
        return Choices((False, True))
    low, high = _bounds(parameter)
    default = parameter.default
    whole = parameter.type is int
    if low is not None and high is not None:
        log = low > 0 and (default < low + _SMALL * (high - low) or (whole and high - low > _WIDE))
        if log and not whole:
            low = min(low, default / _FACTOR)
        return Range(low, high, log, whole).including(default)
    if default > 0 and (low is None or low >= 0):
        least = max(default / _FACTOR, low or 0.0)
        if whole:
            return Range(max(1, round(least)), round(default * _FACTOR), True, True)
        return Range(least, min(default * _FACTOR, high or default * _FACTOR), True)
    width = max(1.0, abs(default))
    least = default - width if low is None else low
    return Range(least, high if high is not None else default + width, False, whole)


def _bounds(parameter: Parameter) -> tuple[float | int | None, float | int | None]:
    """Return the ends of what is possible, a little inside where they are not possible."""
    bounds = parameter.bounds
    if bounds is None:
        return None, None
    low: Any = bounds.ge if bounds.ge is not None else bounds.gt
    high: Any = bounds.le if bounds.le is not None else bounds.lt
    edge = _EDGE * (high - low) if low is not None and high is not None else 0.0
    if parameter.type is int:
        edge = 1
    if bounds.gt is not None:
        low += edge or _EDGE * abs(parameter.default)
    if bounds.lt is not None:
        high -= edge or _EDGE * abs(parameter.default)
    return low, high


def read_range(text: str, where: str) -> Range:
    """Read a range such as 0.1..2; it is searched in its logarithm where it spans a decade.

    Raises:
        MergeError: no two numbers, or in the wrong order.
    """
    low, dots, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = 1.0, 0.0
    if not dots or not ends[0] < ends[1]:
        raise MergeError(f"{text!r} is not a range", where=where, hint="such as 0.1..2")
    return Range(*ends, log=ends[0] > 0 and ends[1] >= _FACTOR * ends[0])


def read_named(text: str, where: str) -> Mapping[str, str]:
    """Read what follows an axis's name: names, some with a range, such as density=0.1..0.5,k."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in parts]
    if any(equals and not value for _, equals, value in pairs):
        raise MergeError(f"{text!r} has a name without a range", where=where, hint="name=0.1..2")
    return {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}
