"""Writes a report: a page, pictures, or Markdown with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import vl_convert

from ...errors import MergeError, writing
from ..tables import Diagnosis
from ..verdict import make_verdict
from . import definition
from .figure import Chart
from .figures import figures
from .numbers import TextTable, tables
from .page import VEGA_LITE, about, counts, evidence, page
from .style import config

Format = Literal["html", "md", "png"]
_WIDTH, _WIDE = 520, 760  # of pictures, in points
_SCALE = 3
"""Pixels to a point; 216 to an inch."""


def write(found: Diagnosis, output: Path, form: Format) -> None:
    """Write a report.

    Args:
        found: What it shows.
        output: A file for html, a folder for md and png.
        form: html, md or png.

    Raises:
        MergeError: It cannot be written there.
    """
    with writing(output):
        if form == "html":
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(page(found), encoding="utf-8")
            return
        if output.exists() and not output.is_dir():
            raise MergeError(
                "not a folder", where=str(output), hint=f"{form} writes several files to a folder"
            )
        output.mkdir(parents=True, exist_ok=True)
        drawn = figures(found)
        for figure in drawn:
            (output / f"{figure.name}.png").write_bytes(picture(figure))
        if form == "md":
            (output / "report.md").write_text(_markdown(found, drawn), encoding="utf-8")


def picture(figure: Chart) -> bytes:
    """A figure as PNG on white, with its menus at their first choices."""
    look = {**config("light", "sans-serif"), "background": "white"}
    spec = figure.spec(_WIDE if figure.wide else _WIDTH)
    drawn: bytes = vl_convert.vegalite_to_png(
        spec, vl_version=VEGA_LITE, scale=_SCALE, config=look, allowed_base_urls=[]
    )
    return drawn


def _markdown(found: Diagnosis, drawn: Sequence[Chart]) -> str:
    parts = [f"# {', '.join(found.adapters)}", ", ".join(counts(found)) + "."]
    parts += [f"> {note}" for note in found.notes]
    parts += ["## Verdict", "\n".join(_item(found))]
    numbers = tables(found)
    for part, title, some in (("before", "Before", numbers[:1]), ("after", "After", numbers[1:])):
        those = [figure for figure in drawn if figure.part == part]
        if those:
            parts += [f"## {title} merging", *map(_table, some), *map(_figure, those)]
    return "\n\n".join(parts) + "\n"


def _item(found: Diagnosis) -> list[str]:
    return [
        f"- **{said.level}, {about(said)}:** {said.text}"
        + (f" ({', '.join(evidence(said))})" if said.evidence else "")
        for said in make_verdict(found)
    ]


def _table(table: TextTable) -> str:
    lines = [table.columns, ("---", *["---:"] * (len(table.columns) - 1)), *table.rows]
    shown = "\n".join(
        "| " + " | ".join(x.replace("|", "\\|") for x in line) + " |" for line in lines
    )
    return f"### {table.title}\n\n{shown}\n\n{table.lead}"


def _figure(figure: Chart) -> str:
    files = ", ".join(f"`{definition.file(source)}`" for source in figure.sources)
    return (
        f"### {figure.title}\n\n![{figure.title}]({figure.name}.png)\n\n{figure.lead} "
        f"Definitions: {files}."
    )
