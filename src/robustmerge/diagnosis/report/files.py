"""Write a report: a page, images, or Markdown with images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import vl_convert

from ... import files
from ..._version import __version__
from ...escape import markdown
from ...outputs import ResultKind, check_target, list_files, whole_folder
from ..tables import Diagnosis
from ..verdict import make_verdict
from .chart import Chart
from .figures import draw_figures
from .numbers import TextTable, make_tables
from .page import (
    VEGA_LITE,
    list_evidence,
    name_subject,
    render_page,
    source_path,
)
from .style import make_config

Format = Literal["html", "md", "png"]
KIND = ResultKind("a report", "report.json")
_MARK = '<p class="brand">robustmerge diagnose</p>'
"""What every page has."""

_WIDTH, _WIDE = 520, 760  # of images, in points
_SCALE = 3
"""Pixels per point, which is 216 pixels per inch: enough for print."""


def write_report(diagnosis: Diagnosis, output: Path, form: Format) -> None:
    """Write a report.

    Args:
        diagnosis: The diagnosis to show.
        output: A file for html, a folder for md and png.
        form: html, md or png.

    Raises:
        MergeError: `output` cannot be written.
    """
    if form == "html":
        files.write_report(output, render_page(diagnosis), _MARK)
        return
    charts = draw_figures(diagnosis)
    with whole_folder(output, KIND, [], force=True) as folder:
        for chart in charts:
            (folder / f"{chart.name}.png").write_bytes(render_png(chart))
        if form == "md":
            (folder / "report.md").write_text(_markdown(diagnosis, charts), encoding="utf-8")
        record = {"robustmerge": __version__, "files": list_files(folder)}
        files.write_json(folder / KIND.record, record)


def check_output(output: Path, form: Format) -> None:
    """Check before any work that a report may be written; it replaces an earlier one alone.

    Raises:
        MergeError: something else is there.
    """
    if form == "html":
        files.check_report(output, _MARK)
    else:
        check_target(output, KIND, [], force=True)


def render_png(chart: Chart) -> bytes:
    """Return a figure as PNG on white, with its menus at their first choices."""
    style = {**make_config("light", "sans-serif"), "background": "white"}
    spec = chart.spec(_WIDE if chart.wide else _WIDTH)
    png: bytes = vl_convert.vegalite_to_png(
        spec, vl_version=VEGA_LITE, scale=_SCALE, config=style, allowed_base_urls=[]
    )
    return png


def _markdown(diagnosis: Diagnosis, charts: Sequence[Chart]) -> str:
    names = ", ".join(map(markdown, diagnosis.adapters))
    parts = [f"# {names}", ", ".join(diagnosis.count_inputs()) + "."]
    parts += [f"> {markdown(note)}" for note in diagnosis.notes]
    parts += ["## Verdict", "\n".join(_sentences(diagnosis))]
    numbers = make_tables(diagnosis)
    for part, title, some in (("before", "Before", numbers[:1]), ("after", "After", numbers[1:])):
        selected = [chart for chart in charts if chart.part == part]
        if selected:
            parts += [f"## {title} merging", *map(_table, some), *map(_figure, selected)]
    return "\n\n".join(parts) + "\n"


def _sentences(diagnosis: Diagnosis) -> list[str]:
    return [
        f"- **{s.level}, {markdown(name_subject(s))}:** {markdown(s.text)}"
        + (f" ({markdown(', '.join(list_evidence(s)))})" if s.evidence else "")
        for s in make_verdict(diagnosis)
    ]


def _table(table: TextTable) -> str:
    lines = [table.columns, ("---", *["---:"] * (len(table.columns) - 1)), *table.rows]
    shown = "\n".join("| " + " | ".join(map(markdown, line)) + " |" for line in lines)
    return f"### {table.title}\n\n{shown}\n\n{table.lead}"


def _figure(chart: Chart) -> str:
    files = ", ".join(f"`{source_path(source)}`" for source in chart.sources)
    return (
        f"### {chart.title}\n\n![{chart.title}]({chart.name}.png)\n\n{chart.lead} "
        f"Definitions: {files}."
    )
