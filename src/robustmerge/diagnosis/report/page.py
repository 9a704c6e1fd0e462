"""A diagnosis as one self-contained web page."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

import altair
import vl_convert

from ..._version import __version__
from ..tables import Diagnosis
from ..verdict import Sentence, make_verdict
from ..verdict_texts import SUBJECTS, label_evidence
from .chart import Chart
from .figures import draw_figures
from .numbers import TextTable, make_tables
from .style import make_config

VEGA_LITE = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite of the charts."""
_SIGNS = {"good": "✓", "note": "i", "bad": "!"}


def render_page(diagnosis: Diagnosis) -> str:
    """Return the page as HTML."""
    charts = draw_figures(diagnosis)
    before, after = (
        [chart for chart in charts if chart.part == part] for part in ("before", "after")
    )
    numbers = make_tables(diagnosis)
    specs = {chart.name: chart.spec() for chart in charts}
    return Template(_read("page.html")).substitute(
        title=escape(_title(diagnosis)),
        style=_read("page.css"),
        names=escape(", ".join(diagnosis.adapters)),
        counts=escape(", ".join(diagnosis.count_inputs())),
        notes="".join(f"<li>{escape(note)}</li>" for note in diagnosis.notes),
        verdict="\n".join(map(_sentence, make_verdict(diagnosis))),
        before=_section("before", "Before merging", before, numbers[:1]),
        after=_section("after", "After merging", after, numbers[1:]) if after else "",
        version=escape(__version__),
        specs=_script(specs),
        looks=_script({look: make_config(look) for look in ("light", "dark")}),
        vega=_vega(),
        script=_read("page.js"),
    )


def _title(diagnosis: Diagnosis) -> str:
    _, adapters, *merges = diagnosis.count_inputs()
    return f"{merges[0]} of {adapters}" if merges else f"{adapters}, before merging"


def name_subject(sentence: Sentence) -> str:
    """Return the subject of a sentence in words, or the name of its merge."""
    return SUBJECTS.get(sentence.subject, sentence.subject)


def list_evidence(sentence: Sentence) -> list[str]:
    """Return the figures behind a sentence, with their names."""
    return [f"{label_evidence(k)} {value:.3g}" for k, value in sentence.evidence.items()]


def _sentence(sentence: Sentence) -> str:
    level = sentence.level
    figures = "".join(f"<li>{escape(text)}</li>" for text in list_evidence(sentence))
    return (
        f'<li class="{level}"><b class="sign" title="{level}">{_SIGNS[level]}</b>'
        f'<div><span class="about">{escape(name_subject(sentence))}</span>'
        f"<p>{escape(sentence.text)}</p>"
        f"{f'<ul>{figures}</ul>' if figures else ''}</div></li>"
    )


def _section(name: str, title: str, charts: Sequence[Chart], numbers: Sequence[TextTable]) -> str:
    return (
        f'<section id="{name}"><h2>{escape(title)}</h2>'
        f"{''.join(map(_table, numbers))}"
        f'<div class="charts">{"".join(map(_figure, charts))}</div></section>'
    )


def _figure(chart: Chart) -> str:
    definitions = "".join(
        f"{_definition(source)}<p>Computed by <code>{source_path(source)}</code></p>"
        for source in chart.sources
    )
    wide = ' class="whole"' if chart.wide else ""
    lead = "".join(
        f"<code>{escape(x)}</code>" if i % 2 else escape(x)
        for i, x in enumerate(chart.lead.split("`"))
    )
    return (
        f'<figure id="{chart.name}"{wide}><figcaption>{escape(chart.title)}</figcaption>'
        f'<p>{lead}</p><div class="chart" data-figure="{chart.name}"></div>'
        f"<details><summary>Definition and source</summary>{definitions}</details></figure>"
    )


def _table(table: TextTable) -> str:
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in table.rows
    )
    return (
        f"<h3>{escape(table.title)}</h3>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
        f"<p>{escape(table.lead)}</p>"
    )


def definition_blocks(module: ModuleType) -> list[tuple[bool, str]]:
    """Return the parts of a module's documentation, each with whether it is preformatted."""
    parts = (inspect.getdoc(module) or "").split("\n\n")
    return [(part.startswith("    "), textwrap.dedent(part)) for part in parts]


def _definition(module: ModuleType) -> str:
    return "".join(
        f"<pre>{escape(text)}</pre>" if preformatted else f"<p>{escape(text)}</p>"
        for preformatted, text in definition_blocks(module)
    )


def source_path(module: ModuleType) -> str:
    """Return the path of a module's file within the package's sources."""
    return module.__name__.replace(".", "/") + ".py"


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _script(value: Any) -> str:
    """Return a value for a script of the page, escaped so that no adapter name can end it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, 0.9 MB."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    bundle: str = vl_convert.javascript_bundle(snippet, vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")
