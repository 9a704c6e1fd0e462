"""Random parts of scenes, which all tasks draw from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from numpy.random import Generator

from .facts import COLORS, GROUNDS, NAMES
from .scene import CELLS, Line, Thing
from .sprites import CHARACTERS

T = TypeVar("T")


def pick(rng: Generator, values: Sequence[T]) -> T:
    """Draw one of the values."""
    return values[int(rng.integers(len(values)))]


def some(rng: Generator, values: Sequence[T], count: int) -> list[T]:
    """Draw different values, in random order."""
    return [values[int(index)] for index in rng.permutation(len(values))[:count]]


def chance(rng: Generator, share: float) -> bool:
    """Return True with this probability."""
    return bool(rng.random() < share)


def thing_in(
    rng: Generator,
    cell: tuple[int, int],
    name: str | None = None,
    color: str | None = None,
    small: float = 0.5,
) -> Thing:
    """Draw a thing in a cell; name and color are random by default, the size always."""
    corner = int(rng.integers(4)) if chance(rng, small) else None
    return Thing(name or pick(rng, NAMES), color or pick(rng, tuple(COLORS)), *cell, corner)


def different(rng: Generator, count: int, small: float = 0.5) -> tuple[Thing, ...]:
    """Draw things of different names in different cells, in reading order."""
    names = some(rng, NAMES, count)
    cells = sorted(some(rng, CELLS, count))
    return tuple(
        thing_in(rng, cell, name, small=small) for cell, name in zip(cells, names, strict=True)
    )


def crowd(rng: Generator, count: int, kinds: int = 2, small: float = 0.5) -> tuple[Thing, ...]:
    """Draw things of few names, for questions about counts."""
    names = some(rng, NAMES, kinds)
    return tuple(
        thing_in(rng, cell, pick(rng, names), small=small)
        for cell in sorted(some(rng, CELLS, count))
    )


def surface(rng: Generator) -> str:
    """Draw a ground: a texture or a plain color."""
    return pick(rng, GROUNDS) if chance(rng, 0.6) else pick(rng, tuple(COLORS))


def word(rng: Generator, shortest: int = 3, longest: int = 5) -> str:
    """Draw letters without a meaning."""
    letters = CHARACTERS[:26]
    return "".join(pick(rng, letters) for _ in range(int(rng.integers(shortest, longest + 1))))


def lines(rng: Generator, rows: Sequence[int]) -> tuple[Line, ...]:
    """Draw lines of letters, some of digits, in rows of patches."""
    texts = [str(rng.integers(100, 10000)) if chance(rng, 0.25) else word(rng) for _ in rows]
    return tuple(
        Line(text, row, int(rng.integers(7 - len(text))))
        for text, row in zip(texts, rows, strict=True)
    )


def spelled(text: str) -> str:
    """Return text with a space between characters, each of which is a token."""
    return " ".join(text)
