"""Random scenes for questions."""

from __future__ import annotations

from numpy.random import Generator

from . import draws
from .draws import chance, some
from .facts import NAMES
from .scene import CELLS, Line, Scene


def of_few(rng: Generator) -> Scene:
    """Draw a scene of one to four different things."""
    return Scene(draws.different(rng, int(rng.integers(1, 5))), draws.surface(rng))


def of_many(rng: Generator) -> Scene:
    """Draw a scene of two to seven things of two or three names."""
    count = int(rng.integers(2, 8))
    return Scene(draws.crowd(rng, count, int(rng.integers(2, 4))), draws.surface(rng))


def with_writing(rng: Generator) -> Scene:
    """Draw a sign: one to three lines, and sometimes a thing between them."""
    rows = sorted(some(rng, (0, 1, 4, 5), int(rng.integers(1, 4))))
    things = (draws.thing_in(rng, (1, int(rng.integers(3)))),) if chance(rng, 0.5) else ()
    return Scene(things, draws.surface(rng), draws.lines(rng, rows))


def with_numbers(rng: Generator) -> Scene:
    """Draw two or three rows, each of a thing and a number near it."""
    names = some(rng, NAMES, int(rng.integers(2, 4)))
    things, lines = [], []
    for row, name in zip(sorted(some(rng, (0, 1, 2), len(names))), names, strict=True):
        thing = draws.thing_in(rng, (row, 0), name)
        at = thing.box[1]
        things.append(thing)
        lines.append(Line(str(rng.integers(10)), at, int(rng.integers(3, 6))))
    return Scene(tuple(things), draws.surface(rng), tuple(lines))


def with_gauge(rng: Generator) -> Scene:
    """Draw a gauge below one or two things."""
    cells = sorted(some(rng, CELLS[:6], int(rng.integers(1, 3))))
    names = some(rng, NAMES, len(cells))
    things = tuple(draws.thing_in(rng, c, n) for c, n in zip(cells, names, strict=True))
    return Scene(things, draws.surface(rng), gauge=(int(rng.integers(4, 6)), int(rng.integers(10))))
