"""A table as rows of cells, for whatever writes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ....figure import ScoreEstimate
from ..published import PublishedRow
from .summary import Standing

TITLES = {"seen": "Seen tasks", "unseen": "Unseen tasks", "vision": "Vision tasks", "general": ""}
MISSING, NONE = "missing", "–"
PUBLISHED = ("published", "elsewhere")


@dataclass(frozen=True)
class Cell:
    """What stands at one place.

    Attributes:
        text: A value, or why there is none.
        spread: Half its interval, with a sign; or a word that goes with it.
        mark: Letters of notes.
        best: Whether it is the best merge's.
    """

    text: str
    spread: str = ""
    mark: str = ""
    best: bool = False


@dataclass(frozen=True)
class Head:
    """The head of a column.

    Attributes:
        text: What stands there.
        title: What that is.
        group: What stands above it and its neighbors.
        average: Whether the column is an average of those before it.
    """

    text: str
    title: str = ""
    group: str = ""
    average: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        label: What it is about.
        sort: chance, zero-shot, individual, joint, merge, published (of what is measured above it)
            or elsewhere (published of what is not measured).
        cells: One for every head.
        mark: Letters of notes.
    """

    label: str
    sort: str
    cells: tuple[Cell, ...]
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        name: scores, averages, or differences of a figure.
        title: Its heading.
        lead: What one must know to read it.
        heads: Of its columns, but for the labels'.
        lines: Its lines.
    """

    name: str
    title: str
    lead: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]


def or_none(value: float | None, standing: Standing) -> str:
    """A value, or the sign for none."""
    return NONE if value is None else number(value, standing)


def number(value: float, standing: Standing) -> str:
    """A value, with as many decimals as the table has."""
    return f"{value:.{decimals(standing.board.printed)}f}"


def spread(figure: ScoreEstimate, places: int) -> str:
    """Half an interval."""
    return f"±{figure.half:.{places}f}"


def decimals(rows: Iterable[PublishedRow]) -> int:
    """As many as were printed, so that rows can be read beside each other; 1 where none were."""
    texts = (f"{value!r}".rpartition(".")[2] for row in rows for value in row.values.values())
    return min(2, max((len(text) for text in texts if text != "0"), default=1))
