r"""Tables as LaTeX, with booktabs; wide ones need graphicx for \resizebox.

\usepackage{booktabs,graphicx}
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from .table import (
    PUBLISHED,
    ReportSection,
    ResultReport,
    ResultTable,
    TableCell,
    TableColumn,
    TableRow,
)

_WIDE = 8  # columns from which on a table is made as wide as the page
_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "–": "--",
    "…": r"\dots{}",
    "|": r"\textbar{}",
    "[": "{[}",  # which would be read as an argument at the beginning of a row, as would *
    "]": "{]}",
    "*": "{*}",
    "<": r"$<$",
    ">": r"$>$",
}


def report_as_latex(report: ResultReport) -> str:
    """Write a whole report: a table environment for every table."""
    lines = [
        f"% {_one_line(report.title)}; base model: {_one_line(report.base)}",
        "% written by robustmerge",
        r"% \usepackage{booktabs,graphicx}",
        "",
    ]
    for section in report.sections:
        for table in section.tables:
            lines += [*_table(table, section), ""]
    return "\n".join(lines)


def _table(table: ResultTable, section: ReportSection) -> list[str]:
    """Write one table with its caption."""
    caption = f"{escape(table.title)}, {escape(section.rules)}. {escape(table.lead)}"
    wide = len(table.columns) >= _WIDE
    before, after = (["\\resizebox{\\textwidth}{!}{%"], ["}"]) if wide else ([], [])
    star = "*" if wide else ""
    return [
        f"\\begin{{table{star}}}[t]",
        r"\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{section.name}-{table.name}}}",
        *before,
        *_tabular(table),
        *after,
        *_notes(table.notes),
        f"\\end{{table{star}}}",
    ]


def _notes(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Write the notes below a table."""
    if not notes:
        return []
    marked = (f"{_raised(mark)}~{escape(text)}" if mark else escape(text) for mark, text in notes)
    return [r"\par\smallskip\raggedright\footnotesize", *(rf"{text}\par" for text in marked)]


def _raised(mark: str) -> str:
    return r"$^\dagger$" if mark == "†" else f"$^{{{mark}}}$"


def _tabular(table: ResultTable) -> list[str]:
    columns = table.columns
    lines = [f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule", *_groups(columns)]
    lines += [_row(["", *(escape(column.text) for column in table.columns)]), r"\midrule"]
    before = ""
    for row in table.rows:
        if before and _begins(row.kind, before):
            lines.append(r"\midrule")
        lines.append(_row([_label(row), *map(_cell, row.cells)]))
        before = before if row.kind == "published" else row.kind
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _begins(kind: str, before: str) -> bool:
    """Return whether a row begins another kind of models than the one before."""
    return kind in ("merge", "elsewhere") and kind != before


def _groups(columns: Sequence[TableColumn]) -> list[str]:
    """Write names of groups above their columns, with a rule below."""
    if not any(column.group for column in columns):
        return []
    cells, rules, at = [""], [], 2
    for name, members in groupby(columns, key=lambda column: column.group):
        n = len(list(members))
        cells.append(f"\\multicolumn{{{n}}}{{c}}{{{escape(name)}}}")
        rules += [f"\\cmidrule(lr){{{at}-{at + n - 1}}}"] if name else []
        at += n
    return [_row(cells), "".join(rules)]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _label(row: TableRow) -> str:
    """Write a label; that of a published row in italics, with the letter of its source."""
    if row.kind in PUBLISHED:
        return f"\\textit{{{escape(row.label)}, published}}$^{{{row.mark}}}$"
    return escape(row.label)


def _cell(cell: TableCell) -> str:
    """Write a cell: the best in bold, details small behind the value."""
    if cell.text[:1] in ("+", "-"):
        return f"${cell.text}^{{*}}$" if cell.detail == "*" else f"${cell.text}$"
    text = f"\\textbf{{{cell.text}}}" if cell.best else escape(cell.text)
    if cell.detail:
        text += f" {{\\scriptsize {escape(cell.detail)}}}"
    if cell.mark:
        text += _raised(cell.mark)
    return text


def escape(text: str) -> str:
    """Escape what LaTeX would read as commands."""
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _one_line(text: str) -> str:
    """Join the lines of a text: a comment ends with its line."""
    return " ".join(text.split())
