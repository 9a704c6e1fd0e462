"""Every task's score, every group's average, and rows that others printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

from ..published import PublishedRow
from .grid import (
    MISSING,
    NONE,
    PUBLISHED,
    TITLES,
    Cell,
    Grid,
    Head,
    Line,
    decimals,
    number,
    or_none,
    spread,
)
from .sources import Sources
from .summary import Standing, Summary


def scores(standing: Standing, sources: Sources) -> Grid:
    """Every task's score, every group's average, and rows that others printed."""
    board = standing.board
    heads: list[Head] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        tasks = board.of(group)
        over = TITLES[group]
        heads += [Head(task.column, task.title, over) for task in tasks]
        if board.has_mean(group):
            mean = f"mean of {len(tasks)}"
            heads.append(Head(mean, f"{over}, the {mean}", over, average=True))
    lines = bold(in_order(standing, _measured, partial(_printed, sources)))
    chance = _chance(standing)
    lead = f"{_samples(standing)} ± is half of a 95% bootstrap interval over samples."
    if any(line.sort in PUBLISHED for line in lines):
        lead += " Published rows were printed elsewhere and not measured here."
    return Grid("scores", "Scores", lead, tuple(heads), (*chance, *lines))


def in_order(
    standing: Standing,
    measured: Callable[[Standing, Summary], Line],
    printed: Callable[[Standing, PublishedRow], Line],
) -> list[Line]:
    """Every contender, what others printed of it below; then what they printed of others.

    Args:
        standing: What there is.
        measured: The line of a contender.
        printed: The line of a published row.
    """
    rows = standing.board.printed
    lines = []
    for summary in standing.summaries:
        lines.append(measured(standing, summary))
        lines += [printed(standing, row) for row in rows if row.label == summary.entry.label]
    labels = {summary.entry.label for summary in standing.summaries}
    others = (row for row in rows if row.label not in labels)
    return lines + [replace(printed(standing, row), sort="elsewhere") for row in others]


def _measured(standing: Standing, summary: Summary) -> Line:
    board, entry = standing.board, summary.entry
    cells: list[Cell] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        for task in board.of(group):
            there = task.name in entry.scores
            mark = "†" if there and entry.scores[task.name].missing else ""
            text = MISSING if entry.missing(task.name) else NONE
            value = summary.tasks[task.name].value if there else None
            cells.append(Cell(number(value, standing) if value is not None else text, mark=mark))
        if board.has_mean(group):
            cells.append(average(standing, summary, group))
    return Line(entry.label, entry.named.kind, tuple(cells))


def average(standing: Standing, summary: Summary, group: str) -> Cell:
    """The mean of a group; never of fewer tasks than the group has."""
    figure, entry = summary.averages.get(group), summary.entry
    tasks = standing.board.of(group)
    if figure is None:
        lacking = any(entry.missing(task.name) for task in tasks)
        return Cell(MISSING if lacking else NONE)
    lesser = any(entry.scores[task.name].missing for task in tasks)
    return Cell(
        number(figure.value, standing),
        spread(figure, decimals(standing.board.printed)),
        "†" if lesser else "",
    )


def _printed(sources: Sources, standing: Standing, row: PublishedRow) -> Line:
    board, source = standing.board, sources.mark(row)
    cells: list[Cell] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        tasks = board.of(group)
        cells += [Cell(or_none(row.values.get(task.name), standing)) for task in tasks]
        if board.has_mean(group):
            mark = sources.slip(row, group, tasks)
            cells.append(Cell(or_none(row.average(tasks, group), standing), mark=mark))
    return Line(row.label, "published", tuple(cells), source)


def _chance(standing: Standing) -> list[Line]:
    """What guessing gets, where that is known of any task."""
    board = standing.board
    known: dict[str, float] = {}
    for entry in board.entries:
        known |= {t: s.chance for t, s in entry.scores.items() if s.chance is not None}
    if not known:
        return []
    cells: list[Cell] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        tasks = board.of(group)
        cells += [Cell(or_none(known.get(task.name), standing)) for task in tasks]
        if board.has_mean(group):
            whole = all(task.name in known for task in tasks)
            mean = fmean(known[task.name] for task in tasks) if whole else None
            cells.append(Cell(or_none(mean, standing)))
    return [Line("chance", "chance", tuple(cells))]


def bold(lines: Sequence[Line], columns: int | None = None) -> list[Line]:
    """Mark the best merge of every column, where there are several to choose from.

    Args:
        lines: Of a table.
        columns: How many columns are better the higher they are; all unless given.
    """
    merges = [line for line in lines if line.sort == "merge"]
    if len(merges) < 2:
        return list(lines)
    best = [
        max((v for v in map(_value, column) if v is not None), default=None)
        for column in zip(*(line.cells for line in merges), strict=True)
    ]
    if columns is not None:
        best[columns:] = [None] * len(best[columns:])
    return [
        replace(line, cells=tuple(map(_marked, line.cells, best))) if line.sort == "merge" else line
        for line in lines
    ]


def _marked(cell: Cell, best: float | None) -> Cell:
    return replace(cell, best=best is not None and _value(cell) == best)


def _value(cell: Cell) -> float | None:
    return None if cell.text in (MISSING, NONE) else float(cell.text)


def _samples(standing: Standing) -> str:
    counts = [s.n for each in standing.board.entries for s in each.scores.values()]
    if not counts:
        return "Nothing is scored yet."
    low, high = min(counts), max(counts)
    return f"{low:,} samples a task." if low == high else f"{low:,} to {high:,} samples a task."
