"""Tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from robustmerge.escape import code_span

from .table import PUBLISHED, ReportSection, ResultReport, ResultTable, TableCell, TableRow

_LEAST = 3  # characters of a column, as the rule below the head needs them


def report_as_markdown(report: ResultReport) -> str:
    """Write a whole report."""
    lines = [f"# {escape(report.title)}", ""]
    if report.note:
        lines += [escape(report.note), ""]
    lines += [f"Base model: {code_span(report.base)}.", ""]
    for section in report.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n\n<!-- written by robustmerge -->\n"


def _section(section: ReportSection) -> list[str]:
    lines = [f"## {section.title}", ""]
    for table in section.tables:
        lines += [f"### {table.title}", "", escape(table.lead), "", *table_lines(table), ""]
        lines += [f"- {f'{mark}: ' if mark else ''}{escape(text)}" for mark, text in table.notes]
        lines += [""] if table.notes else []
    return lines


def table_lines(table: ResultTable, most: int | None = None) -> list[str]:
    """Write one table, with labels of `most` characters; the rest is cut off."""
    head = ["", *(escape(column.text) for column in table.columns)]
    rows = [[_label(row, most), *map(_cell, row.cells)] for row in table.rows]
    return aligned(head, rows)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write texts as a table with aligned columns, the first to the left."""
    widths = [max(_LEAST, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join(map(_padded, row, widths, range(len(row)))) + " |"
        for row in (head, rule, *rows)
    ]


def compact(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Write texts as a table without padding, so that a change of one cell changes one line.

    The first `left` columns are aligned to the left.
    """
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def _padded(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def _label(row: TableRow, most: int | None) -> str:
    """Write a label; that of a published row in italics, with the letter of its source."""
    label = row.label
    if most is not None and len(label) > most:
        label = label[: most - 1] + "…"
    if row.kind in PUBLISHED:
        return f"*{escape(label)}, published* ({row.mark})"
    return escape(label)


def _cell(cell: TableCell) -> str:
    """Write a cell: the best in bold, and details behind the value."""
    text = f"**{cell.text}**" if cell.best else cell.text
    if cell.detail:
        text += "\\*" if cell.detail == "*" else f" {escape(cell.detail)}"
    if cell.mark:
        text += f" ({cell.mark})" if cell.mark.isalpha() else cell.mark
    return text


def escape(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"[\\|*_`]|<(?=[A-Za-z/!?])", r"\\\g<0>", text)
