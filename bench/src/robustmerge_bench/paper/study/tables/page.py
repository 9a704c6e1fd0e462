"""A study's tables as one page: no scripts, nothing from elsewhere, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from ....figure import ScoreEstimate
from .grid import PUBLISHED, TITLES, Cell, Grid, Head, Line
from .report import Report, Section
from .summary import Summary


def as_page(report: Report) -> str:
    """The whole page."""
    record = report.record
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    note = f"<p>{escape(record.note)}</p>" if record.note else ""
    head = (
        f'<header><p class="brand">robustmerge</p><h1>{escape(record.title)}</h1>{note}'
        f"<p>Base model: <code>{escape(record.base)}</code></p>{_contents(report)}</header>"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(record.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join([head, *map(_section, report.sections)])
        + "\n</main>\n</body>\n</html>\n"
    )


def _contents(report: Report) -> str:
    if len(report.sections) < 2:
        return ""
    links = (f'<a href="#{s.protocol}">{escape(s.title)}</a>' for s in report.sections)
    return f"<nav>{''.join(links)}</nav>"


def _section(section: Section) -> str:
    parts = [f'<section id="{section.protocol}"><h2>{escape(section.title)}</h2>']
    for grid in section.grids:
        parts.append(f"<h3>{escape(grid.title)}</h3><p>{escape(grid.lead)}</p>")
        if grid.name == "averages":
            parts.append(charts(section))
        parts.append(table(grid))
        if grid.name == "scores" and section.notes:
            parts.append(_notes(section.notes))
    return "\n".join([*parts, "</section>"])


def _notes(notes: Iterable[tuple[str, str]]) -> str:
    items = (
        f"<li>{f'<b>{escape(mark)}</b> ' if mark else ''}{escape(text)}</li>"
        for mark, text in notes
    )
    return f'<ul class="notes">{"".join(items)}</ul>'


# --- Tables ---------------------------------------------------------------------------------------


def table(grid: Grid) -> str:
    """One table, which scrolls sideways where it must."""
    kind = grid.name.partition("-")[0]
    heads = "".join(map(_head, grid.heads))
    rows = "\n".join(_row(line, grid.heads) for line in grid.lines)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(grid.title)}">'
        f'<table class="{kind}"><thead>{_groups(grid.heads)}<tr><td></td>{heads}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _groups(heads: Sequence[Head]) -> str:
    if not any(head.group for head in heads):
        return ""
    cells = [
        f'<th scope="colgroup" colspan="{len(list(members))}">{escape(name)}</th>'
        for name, members in groupby(heads, key=lambda head: head.group)
    ]
    return f'<tr class="groups"><td></td>{"".join(cells)}</tr>'


def _head(head: Head) -> str:
    kind = ' class="mean"' if head.average else ""
    title = f' title="{escape(head.title)}"' if head.title else ""
    return f'<th scope="col"{kind}{title}>{escape(head.text)}</th>'


def _row(line: Line, heads: Sequence[Head]) -> str:
    label = escape(line.label)
    if line.sort in PUBLISHED:
        label = f"<i>{label}, published</i><sup>{escape(line.mark)}</sup>"
    cells = "".join(_cell(cell, head) for cell, head in zip(line.cells, heads, strict=True))
    return f'<tr class="{line.sort}"><th scope="row">{label}</th>{cells}</tr>'


def _cell(cell: Cell, head: Head) -> str:
    kinds = [k for k, is_so in (("mean", head.average), ("best", cell.best)) if is_so]
    if cell.text == "missing":
        kinds.append("missing")
    if cell.spread == "*":
        kinds.append("better" if cell.text.startswith("+") else "worse")
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    spread = "*" if cell.spread == "*" else f"<small>{escape(cell.spread)}</small>"
    mark = f"<sup>{escape(cell.mark)}</sup>" if cell.mark else ""
    return f"<td{kind}>{escape(cell.text)}{spread if cell.spread else ''}{mark}</td>"


# --- Charts ---------------------------------------------------------------------------------------


def charts(section: Section) -> str:
    """For every average, the contenders' values with their intervals on one scale."""
    standing = section.standing
    found = []
    for group in standing.board.averaged:
        there = [(s, s.averages[group]) for s in standing.summaries if group in s.averages]
        if len(there) > 1:
            found.append(_chart(f"{TITLES[group]}, the mean", there))
    return f'<div class="charts">{"".join(found)}</div>' if found else ""


def _chart(title: str, rows: Sequence[tuple[Summary, ScoreEstimate]]) -> str:
    low, high = min(f.low for _, f in rows), max(f.high for _, f in rows)
    room = 0.04 * (high - low) or 1.0
    low, high = low - room, high + room

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    ordered = sorted(rows, key=lambda row: -row[1].value)
    lines = "".join(
        f'<div class="{summary.entry.named.kind}"><dt>{escape(summary.entry.label)}</dt>'
        f'<dd><span class="track"><span class="range" style="left:{at(f.low)};'
        f'right:calc(100% - {at(f.high)})"></span><span class="dot" style="left:{at(f.value)}">'
        f'</span></span><span class="value">{f.value:.1f}</span></dd></div>'
        for summary, f in ordered
    )
    return f"<figure><figcaption>{escape(title)}</figcaption><dl>{lines}</dl></figure>"
