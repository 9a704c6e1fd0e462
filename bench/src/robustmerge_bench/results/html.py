"""Reports as one page of HTML: no scripts, nothing from elsewhere, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from .table import (
    PUBLISHED,
    IntervalChart,
    ReportSection,
    ResultReport,
    ResultTable,
    TableCell,
    TableColumn,
    TableRow,
)


def report_as_page(report: ResultReport) -> str:
    """Write a whole report."""
    note = f"<p>{escape(report.note)}</p>" if report.note else ""
    head = (
        f'<header><p class="brand">robustmerge</p><h1>{escape(report.title)}</h1>{note}'
        f"<p>Base model: <code>{escape(report.base)}</code></p>"
        f"{_contents(report.sections)}</header>"
    )
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return page(report.title, style, [head, *map(_section, report.sections)])


def page(title: str, style: str, parts: Iterable[str]) -> str:
    """Write a page that needs no other file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _contents(sections: Sequence[ReportSection]) -> str:
    links = (f'<a href="#{s.name}">{escape(s.title)}</a>' for s in sections)
    return f"<nav>{''.join(links)}</nav>" if len(sections) > 1 else ""


def _section(section: ReportSection) -> str:
    parts = [f'<section id="{section.name}"><h2>{escape(section.title)}</h2>']
    for table in section.tables:
        parts.append(f"<h3>{escape(table.title)}</h3><p>{escape(table.lead)}</p>")
        charts = "".join(map(_chart, table.charts))
        parts += [f'<div class="charts">{charts}</div>'] if charts else []
        parts += [_table(table), *_notes(table.notes)]
    return "\n".join([*parts, "</section>"])


def _notes(notes: Sequence[tuple[str, str]]) -> list[str]:
    items = (
        f"<li>{f'<b>{escape(mark)}</b> ' if mark else ''}{escape(text)}</li>"
        for mark, text in notes
    )
    return [f'<ul class="notes">{"".join(items)}</ul>'] if notes else []


def _table(table: ResultTable) -> str:
    """Write one table, which scrolls sideways where it has to."""
    kind = table.name.partition("-")[0]
    heads = "".join(map(_head, table.columns))
    rows = "\n".join(_row(row, table.columns) for row in table.rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f'<table class="{kind}"><thead>{_groups(table.columns)}<tr><td></td>{heads}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _groups(columns: Sequence[TableColumn]) -> str:
    if not any(column.group for column in columns):
        return ""
    cells = [
        f'<th scope="colgroup" colspan="{len(list(members))}">{escape(name)}</th>'
        for name, members in groupby(columns, key=lambda column: column.group)
    ]
    return f'<tr class="groups"><td></td>{"".join(cells)}</tr>'


def _head(column: TableColumn) -> str:
    kind = ' class="mean"' if column.average else ""
    title = f' title="{escape(column.title)}"' if column.title else ""
    return f'<th scope="col"{kind}{title}>{escape(column.text)}</th>'


def _row(row: TableRow, columns: Sequence[TableColumn]) -> str:
    label = escape(row.label)
    if row.kind in PUBLISHED:
        label = f"<i>{label}, published</i><sup>{escape(row.mark)}</sup>"
    cells = "".join(map(_cell, row.cells, columns))
    return f'<tr class="{row.kind}"><th scope="row">{label}</th>{cells}</tr>'


def _cell(cell: TableCell, column: TableColumn) -> str:
    significant = cell.detail == "*"
    kinds = {
        "mean": column.average,
        "best": cell.best,
        "missing": cell.text == "missing",
        "better": significant and cell.text.startswith("+"),
        "worse": significant and not cell.text.startswith("+"),
    }
    names = " ".join(name for name, applies in kinds.items() if applies)
    kind = f' class="{names}"' if names else ""
    detail = "*" if significant else f"<small>{escape(cell.detail)}</small>"
    mark = f"<sup>{escape(cell.mark)}</sup>" if cell.mark else ""
    return f"<td{kind}>{escape(cell.text)}{detail if cell.detail else ''}{mark}</td>"


def _chart(chart: IntervalChart) -> str:
    estimates = [estimate for _, _, estimate in chart.bars]
    low, high = min(e.low for e in estimates), max(e.high for e in estimates)
    room = 0.04 * (high - low) or 1.0
    low, high = low - room, high + room

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    bars = "".join(
        f'<div class="{kind}"><dt>{escape(label)}</dt>'
        f'<dd><span class="track"><span class="range" style="left:{at(e.low)};'
        f'right:calc(100% - {at(e.high)})"></span><span class="dot" style="left:{at(e.value)}">'
        f'</span></span><span class="value">{e.value:.1f}</span></dd></div>'
        for label, kind, e in sorted(chart.bars, key=lambda bar: -bar[2].value)
    )
    return f"<figure><figcaption>{escape(chart.title)}</figcaption><dl>{bars}</dl></figure>"
