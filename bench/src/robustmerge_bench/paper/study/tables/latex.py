r"""A study's tables as LaTeX, with booktabs; wide ones need graphicx for \resizebox.

\usepackage{booktabs,graphicx}
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from .grid import PUBLISHED, Cell, Grid, Head, Line
from .report import Report, Section

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


def as_latex(report: Report) -> str:
    """The whole report: a table environment for every table."""
    lines = [
        f"% {_plain(report.record.title)}; base model: {_plain(report.record.base)}",
        r"% \usepackage{booktabs,graphicx}",
        "",
    ]
    for section in report.sections:
        for grid in section.grids:
            lines += [*table(grid, section), ""]
    return "\n".join(lines)


def table(grid: Grid, section: Section) -> list[str]:
    """One table with its caption."""
    caption = f"{escaped(grid.title)}, {escaped(section.protocol)} rules. {escaped(grid.lead)}"
    wide = len(grid.heads) >= _WIDE
    before, after = (["\\resizebox{\\textwidth}{!}{%"], ["}"]) if wide else ([], [])
    star = "*" if wide else ""
    return [
        f"\\begin{{table{star}}}[t]",
        r"\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{section.protocol}-{grid.name}}}",
        *before,
        *_tabular(grid),
        *after,
        *(_notes(section.notes) if grid.name == "scores" else []),
        f"\\end{{table{star}}}",
    ]


def _notes(notes: Sequence[tuple[str, str]]) -> list[str]:
    """What marks stand for, below the table."""
    marked = [f"{_raised(mark)}~{escaped(text)}" if mark else escaped(text) for mark, text in notes]
    return (
        [r"\par\smallskip\raggedright\footnotesize", *(rf"{x}\par" for x in marked)]
        if notes
        else []
    )


def _raised(mark: str) -> str:
    return r"$^\dagger$" if mark == "†" else f"$^{{{mark}}}$"


def _tabular(grid: Grid) -> list[str]:
    lines = [f"\\begin{{tabular}}{{l{'r' * len(grid.heads)}}}", r"\toprule", *_groups(grid.heads)]
    lines += [_row(["", *(escaped(head.text) for head in grid.heads)]), r"\midrule"]
    before = ""
    for line in grid.lines:
        if before and _begins(line.sort, before):
            lines.append(r"\midrule")
        lines.append(_row([label(line), *map(cell, line.cells)]))
        before = before if line.sort == "published" else line.sort
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _begins(sort: str, before: str) -> bool:
    """Whether a line begins another sort of contenders than the one before."""
    return sort in ("merge", "elsewhere") and sort != before


def _groups(heads: Sequence[Head]) -> list[str]:
    """What stands above several columns, with a rule below it."""
    if not any(head.group for head in heads):
        return []
    cells, rules, at = [""], [], 2
    for name, members in groupby(heads, key=lambda head: head.group):
        n = len(list(members))
        cells.append(f"\\multicolumn{{{n}}}{{c}}{{{escaped(name)}}}")
        rules += [f"\\cmidrule(lr){{{at}-{at + n - 1}}}"] if name else []
        at += n
    return [_row(cells), "".join(rules)]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def label(line: Line) -> str:
    """A line's label; what was published is in italics, with the letter of its source."""
    if line.sort in PUBLISHED:
        return f"\\textit{{{escaped(line.label)}, published}}$^{{{line.mark}}}$"
    return escaped(line.label)


def cell(cell: Cell) -> str:
    """A cell: the best in bold, what goes with a value small behind it."""
    if cell.text[:1] in ("+", "-"):
        return f"${cell.text}^{{*}}$" if cell.spread == "*" else f"${cell.text}$"
    text = f"\\textbf{{{cell.text}}}" if cell.best else escaped(cell.text)
    if cell.spread:
        text += f" {{\\scriptsize {escaped(cell.spread)}}}"
    if cell.mark:
        text += _raised(cell.mark)
    return text


def escaped(text: str) -> str:
    """A text without signs that mean something to LaTeX."""
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _plain(text: str) -> str:
    """A text within a comment, which ends with the line."""
    return " ".join(text.split())
