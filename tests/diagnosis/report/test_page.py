"""The page: one self-contained file, with the verdict first."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html import escape
from html.parser import HTMLParser

import altair
import pytest

from factories.charts import alone, large, small
from robustmerge.diagnosis import spectrum
from robustmerge.diagnosis.report.figures import draw_figures
from robustmerge.diagnosis.report.numbers import make_tables
from robustmerge.diagnosis.report.page import definition_blocks, render_page, source_path
from robustmerge.diagnosis.tables import Diagnosis
from robustmerge.diagnosis.verdict import make_verdict
from robustmerge.diagnosis.verdict_texts import SUBJECTS, label_evidence

LOADING = ("src", "href", "srcset", "data", "action", "poster", "background")


class ParsedPage(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        name = attributes.get("id") or tag
        self.inside[name] = self.inside.get(name, "") + data


@cache
def made() -> str:
    return render_page(small())


@cache
def outline() -> ParsedPage:
    return ParsedPage(made())


def test_nothing_is_loaded() -> None:
    for tag, attributes in outline().tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base"), tag
        assert not set(attributes) & set(LOADING), (tag, attributes)
    style = outline().inside["style"]
    assert "url(" not in style
    assert "@import" not in style
    policies = [a for t, a in outline().tags if t == "meta" and "http-equiv" in a]
    (policy,) = (p["content"] or "" for p in policies)
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "connect-src" not in policy


def test_vega_is_there_once() -> None:
    assert made().count("window.vegaEmbed=") == 1
    assert len(made()) < 1_300_000


def test_the_verdict_comes_first_with_level_and_evidence() -> None:
    text = made()
    start, end = text.index('id="verdict"'), text.index("<figure")
    assert start < end
    first = text[start:end]
    verdict = make_verdict(small())
    assert len(verdict) == first.count('class="sign"')
    for sentence in verdict:
        assert escape(sentence.text) in first
        (item,) = (x for x in first.split("</li>\n") if escape(sentence.text) in x)
        assert f'<li class="{sentence.level}">' in item
        assert (
            f'<span class="about">{SUBJECTS.get(sentence.subject, sentence.subject)}</span>' in item
        )
        for name, value in sentence.evidence.items():
            assert f"<li>{escape(label_evidence(name))} {value:.3g}</li>" in first


def test_every_figure_has_a_place_a_drawing_and_its_definition() -> None:
    specs = json.loads(outline().inside["specs"])
    containers = [a["data-figure"] for _, a in outline().tags if "data-figure" in a]
    assert containers == list(specs) == [figure.name for figure in draw_figures(small())]
    for spec in specs.values():
        chart = {k: v for k, v in spec.items() if k != "autosize"}
        altair.Chart.from_dict(chart, validate=True)
    for figure in draw_figures(small()):
        part = made().split(f'<figure id="{figure.name}"')[1].split("</figure>")[0]
        assert f"<figcaption>{escape(figure.title)}</figcaption>" in part
        assert part.startswith(' class="whole">' if figure.wide else ">")
        details = part.split("<details>")[1]
        for source in figure.sources:
            assert source_path(source) in details
            for line in (source.__doc__ or "").splitlines():
                assert escape(line.strip()) in details


def test_definitions_keep_their_formulas() -> None:
    shown = definition_blocks(spectrum)
    assert [preformatted for preformatted, _ in shown] == [False, True, False]
    assert shown[1][1].startswith("head to tail     σ_1 / σ_k")
    assert shown[1][1].splitlines()[1].startswith("first share      σ_1²")
    assert source_path(spectrum) == "robustmerge/diagnosis/spectrum.py"


def test_names_cannot_break_out() -> None:
    bad = "</script><script>alert(1)</script>"
    diagnosis = small()
    renamed = replace(
        diagnosis,
        adapters=(bad, *diagnosis.adapters[1:]),
        notes=(bad,),
        **{
            table: tuple(
                replace(row, **{k: bad for k, v in vars(row).items() if v == "task-0"})
                for row in getattr(diagnosis, table)
            )
            for table in ("spectra", "values", "pairs", "heard", "kept", "directions")
        },
        histograms=(),
        curves=(),
    )
    text = render_page(renamed)
    assert text.count("<script") == made().count("<script")
    assert "alert(1)</" not in text
    spec = json.loads(ParsedPage(text).inside["specs"])["map-norm"]
    data = [spec["data"].get("values", ""), *spec.get("datasets", {}).values()]
    assert any(bad in table for table in data)  # as it is called, not cut or changed


def test_parts_without_anything_are_left_out() -> None:
    assert 'id="after"' in made()
    text = render_page(alone())
    assert 'id="after"' not in text
    assert "<h1>3 adapters, before merging</h1>" in text
    assert '<p class="counts">1 module, 3 adapters</p>' in text


def test_the_head_says_what_was_looked_at() -> None:
    assert "<h1>2 merges of 3 adapters</h1>" in made()
    assert '<p class="names">task-0, task-1, task-2</p>' in made()
    assert '<p class="counts">5 modules, 3 adapters, 2 merges</p>' in made()
    assert '<ul class="notes"><li>a note</li></ul>' in made()


def test_light_and_dark_say_the_same_by_other_colors() -> None:
    looks = json.loads(outline().inside["looks"])
    assert looks["light"]["range"].keys() == looks["dark"]["range"].keys()
    assert looks["light"]["axis"]["labelColor"] != looks["dark"]["axis"]["labelColor"]
    for scale, colors in looks["light"]["range"].items():
        assert not set(colors) & set(looks["dark"]["range"][scale])
    style = outline().inside["style"]
    dark = re.findall(r"--ground: #16181a;.*?\}", style, re.DOTALL)
    assert len(dark) == 2  # by the button, and by the system
    assert len({" ".join(block.split()) for block in dark}) == 1


def test_eight_tasks_of_a_7B_model_stay_below_five_megabytes() -> None:
    diagnosis = large()
    assert (len(diagnosis.modules), len(diagnosis.adapters), len(diagnosis.merged)) == (224, 8, 4)
    assert len(render_page(diagnosis).encode()) < 5_000_000


@pytest.mark.parametrize("diagnosis", [small(), alone()], ids=["small", "alone"])
def test_tables(diagnosis: Diagnosis) -> None:
    made = make_tables(diagnosis)
    assert len(made) == (2 if diagnosis.merged else 1)
    for table in made:
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert [row[0] for row in made[0].rows] == list(diagnosis.adapters)
    if diagnosis.merged:
        merge = made[1].rows[0]
        # The sum of the adapters at 0.7: all of it is theirs.
        assert merge[3:7] == ("100%", "0%", "0%", "0%")
        assert float(merge[2]) == pytest.approx(0.7, abs=0.05)
