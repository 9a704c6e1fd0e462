"""Names and values side by side, as the commands that show things print them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

_GAP = "  "


@dataclass(frozen=True)
class LabeledRow:
    """One line, or several.

    Attributes:
        name: What it is about; '' under the same name as the row above.
        value: What there is to say; broken where it is too long, and at its own line ends.
        style: How the value looks.
        mark: A word between the two, and how that looks.
    """

    name: str
    value: str
    style: str = ""
    mark: tuple[str, str] = ("", "")


def listed(name: str, lines: Sequence[str], style: str = "") -> list[LabeledRow]:
    """Several values under one name."""
    return [LabeledRow("" if i else name, line, style) for i, line in enumerate(lines)]


def print_rows(console: Console, rows: Iterable[LabeledRow]) -> None:
    """Print the rows in columns; nothing is cut, and words are not broken."""
    rows = list(rows)
    names = max((len(row.name) for row in rows), default=0)
    marks = max((len(row.mark[0]) for row in rows), default=0)
    indent = len(_GAP) + names + len(_GAP) + (marks + len(_GAP) if marks else 0)
    for row in rows:
        head = Text(_GAP + row.name.ljust(names) + _GAP)
        head.append(row.mark[0].ljust(marks) + _GAP if marks else "", row.mark[1])
        for line in _wrapped(row.value, max(console.width - indent, 40)):
            console.print(head.append(line, row.style), soft_wrap=True)
            head = Text(" " * indent)


def _wrapped(value: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in value.splitlines():
        start = line[: len(line) - len(line.lstrip())]
        # The rest of a wrapped line is indented further, so that a list's items stay distinct.
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=start + _GAP if start or "\n" in value else "",
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
    return lines
