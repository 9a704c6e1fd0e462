"""A diagnosis as one web page that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import altair
import vl_convert

from ..._version import __version__
from ..tables import Diagnosis
from ..verdict import Sentence, make_verdict
from . import definition
from .figure import Chart
from .figures import figures
from .numbers import TextTable, tables
from .style import config

VEGA_LITE = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite that the charts are written in."""
_SIGNS = {"good": "✓", "note": "i", "bad": "!"}
_ABOUT = {
    "together": "merging them",
    "factors": "factor-wise methods",
    "sizes": "sizes",
    "start": "where to begin",
    "merges": "which to try",
}


def page(found: Diagnosis) -> str:
    """The whole page."""
    drawn = figures(found)
    before, after = ([f for f in drawn if f.part == part] for part in ("before", "after"))
    numbers = tables(found)
    specs = {figure.name: figure.spec() for figure in drawn}
    return Template(_part("page.html")).substitute(
        title=escape(f"{counted(len(found.adapters), 'adapter')}, looked at before merging them")
        if not found.merged
        else escape(f"{counted(len(found.merged), 'merge')} of {len(found.adapters)} adapters"),
        style=_part("page.css"),
        names=escape(", ".join(found.adapters)),
        counts=escape(", ".join(counts(found))),
        notes="".join(f"<li>{escape(note)}</li>" for note in found.notes),
        verdict="\n".join(map(_sentence, make_verdict(found))),
        before=_section("before", "Before merging", before, numbers[:1]),
        after=_section("after", "After merging", after, numbers[1:]) if after else "",
        version=escape(__version__),
        specs=_script(specs),
        looks=_script({look: config(look) for look in ("light", "dark")}),
        vega=_vega(),
        script=_part("page.js"),
    )


def counts(found: Diagnosis) -> list[str]:
    """How much was looked at."""
    shown = [counted(len(found.modules), "module"), counted(len(found.adapters), "adapter")]
    return shown + ([counted(len(found.merged), "merge")] if found.merged else [])


def counted(n: int, what: str) -> str:
    """A number of things."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def about(sentence: Sentence) -> str:
    """What a sentence is about, in words; a merge is named by its name."""
    return _ABOUT.get(sentence.subject, sentence.subject)


def evidence(sentence: Sentence) -> list[str]:
    """The figures a sentence rests on."""
    return [f"{name} {value:.3g}" for name, value in sentence.evidence.items()]


def _sentence(said: Sentence) -> str:
    rests = "".join(f"<li>{escape(text)}</li>" for text in evidence(said))
    return (
        f'<li class="{said.level}"><b class="sign" title="{said.level}">{_SIGNS[said.level]}</b>'
        f'<div><span class="about">{escape(about(said))}</span><p>{escape(said.text)}</p>'
        f"{f'<ul>{rests}</ul>' if rests else ''}</div></li>"
    )


def _section(name: str, title: str, drawn: Sequence[Chart], numbers: Sequence[TextTable]) -> str:
    return (
        f'<section id="{name}"><h2>{escape(title)}</h2>'
        f"{''.join(map(_table, numbers))}"
        f'<div class="charts">{"".join(map(_figure, drawn))}</div></section>'
    )


def _figure(figure: Chart) -> str:
    defined = "".join(
        f"{definition.html(source)}<p>Computed by <code>{definition.file(source)}</code></p>"
        for source in figure.sources
    )
    wide = ' class="whole"' if figure.wide else ""
    lead = "".join(
        f"<code>{escape(x)}</code>" if i % 2 else escape(x)
        for i, x in enumerate(figure.lead.split("`"))
    )
    return (
        f'<figure id="{figure.name}"{wide}><figcaption>{escape(figure.title)}</figcaption>'
        f'<p>{lead}</p><div class="chart" data-figure="{figure.name}"></div>'
        f"<details><summary>Definition and source</summary>{defined}</details></figure>"
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


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _script(value: Any) -> str:
    """A value for a script of the page, which no name of an adapter can end."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, 0.9 MB."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    bundle: str = vl_convert.javascript_bundle(snippet, vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")
