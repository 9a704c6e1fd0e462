"""A study's tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .grid import PUBLISHED, Cell, Grid, Line
from .report import Report, Section


def as_markdown(report: Report) -> str:
    """The whole report."""
    record = report.record
    lines = [f"# {escaped(record.title)}", ""]
    if record.note:
        lines += [escaped(record.note), ""]
    lines += [f"Base model: `{record.base}`.", ""]
    for section in report.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> list[str]:
    lines = [f"## {section.title}", ""]
    for grid in section.grids:
        lines += [f"### {grid.title}", "", escaped(grid.lead), "", *table(grid), ""]
        if grid.name == "scores":
            lines += [f"- {_note(mark, text)}" for mark, text in section.notes]
            lines += [""] if section.notes else []
    return lines


def _note(mark: str, text: str) -> str:
    return f"{mark}: {escaped(text)}" if mark else escaped(text)


def table(grid: Grid) -> list[str]:
    """One table, its columns aligned."""
    head = ["", *(escaped(h.text) for h in grid.heads)]
    rows = [[label(line), *map(cell, line.cells)] for line in grid.lines]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    rule = ["-" * max(3, widths[0]), *("-" * (max(3, w) - 1) + ":" for w in widths[1:])]
    return [_row(head, widths), "| " + " | ".join(rule) + " |", *(_row(r, widths) for r in rows)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        text.rjust(max(3, width)) if i else text.ljust(max(3, width))
        for i, (text, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def label(line: Line) -> str:
    """A line's label; what was published is in italics, with the letter of its source."""
    if line.sort in PUBLISHED:
        return f"*{escaped(line.label)}, published* ({line.mark})"
    return escaped(line.label)


def cell(cell: Cell) -> str:
    """A cell: the best in bold, and what goes with a value behind it."""
    text = f"**{cell.text}**" if cell.best else cell.text
    if cell.spread == "*":
        text += "\\*"
    elif cell.spread:
        text += f" {escaped(cell.spread)}"
    if cell.mark:
        text += cell.mark if cell.mark == "†" else f" ({cell.mark})"
    return text


def escaped(text: str) -> str:
    """A text without marks of Markdown."""
    return re.sub(r"[\\|*_`]|<(?=[A-Za-z/!?])", r"\\\g<0>", text)
