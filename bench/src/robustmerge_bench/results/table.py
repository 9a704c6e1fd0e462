"""A table as columns and rows of cells, and a report of tables, for whatever writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .resampling import ScoreEstimate

MISSING, NONE = "missing", "–"
PUBLISHED = ("published", "elsewhere")
"""Kinds of rows that others printed."""


@dataclass(frozen=True)
class TableCell:
    """A cell.

    Attributes:
        text: A value, or why there is none.
        detail: Half the value's interval, with a sign; or a word that goes with the value; or `*`
            at a difference that is significant.
        mark: Letters of notes.
    """

    text: str
    detail: str = ""
    mark: str = ""
    best: bool = False

    @classmethod
    def of(cls, value: float | ScoreEstimate | None, decimals: int, mark: str = "") -> TableCell:
        """Format a value, with half its interval where it has one."""
        if value is None:
            return cls(NONE, mark=mark)
        if isinstance(value, ScoreEstimate):
            return cls(f"{value.value:.{decimals}f}", f"±{value.half:.{decimals}f}", mark)
        return cls(f"{value:.{decimals}f}", mark=mark)

    @property
    def number(self) -> float | None:
        """The value, if there is one."""
        return None if self.text in (MISSING, NONE) else float(self.text)


@dataclass(frozen=True)
class TableColumn:
    """The head of a column.

    Attributes:
        text: Its short name.
        title: Its long name.
        group: Name of the group that it and its neighbors belong to.
        average: Whether the column is an average of those before it.
    """

    text: str
    title: str = ""
    group: str = ""
    average: bool = False


@dataclass(frozen=True)
class TableRow:
    """A row.

    Attributes:
        kind: chance, zero-shot, individual, joint, merge, published (of the measured row above)
            or elsewhere (published of a model that is not measured).
        cells: One for every column.
        mark: Letters of notes.
    """

    label: str
    kind: str
    cells: tuple[TableCell, ...]
    mark: str = ""


@dataclass(frozen=True)
class IntervalChart:
    """Values of several models with their intervals, on one scale.

    Attributes:
        bars: Label, kind of row, and value of every model.
    """

    title: str
    bars: tuple[tuple[str, str, ScoreEstimate], ...]


@dataclass(frozen=True)
class ResultTable:
    """A table.

    Attributes:
        name: Its short name, such as scores or differences-seen.
        lead: What a reader needs to know first.
        columns: Its columns, without that of the labels.
        notes: A mark and what it stands for; '' for remarks that have none.
        charts: Charts of the same values, on pages.
    """

    name: str
    title: str
    lead: str
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[tuple[str, str], ...] = ()
    charts: tuple[IntervalChart, ...] = ()


@dataclass(frozen=True)
class ReportSection:
    """Some tables of a report, such as those of one protocol.

    Attributes:
        rules: What captions say of it.
    """

    name: str
    title: str
    rules: str
    tables: tuple[ResultTable, ...]


@dataclass(frozen=True)
class ResultReport:
    """Sections under one title, with a remark and the base model of all results."""

    title: str
    note: str
    base: str
    sections: tuple[ReportSection, ...]


def mark_best(rows: Sequence[TableRow], columns: int | None = None) -> list[TableRow]:
    """Mark the best merge of every column, where there are several merges.

    The first `columns` columns are better the higher they are; all unless given.
    """
    merges = [row for row in rows if row.kind == "merge"]
    if len(merges) < 2:
        return list(rows)
    best = [
        max((v for cell in column if (v := cell.number) is not None), default=None)
        for column in zip(*(row.cells for row in merges), strict=True)
    ]
    if columns is not None:
        best[columns:] = [None] * len(best[columns:])
    return [
        replace(row, cells=tuple(map(_marked, row.cells, best))) if row.kind == "merge" else row
        for row in rows
    ]


def _marked(cell: TableCell, best: float | None) -> TableCell:
    return replace(cell, best=best is not None and cell.number == best)
