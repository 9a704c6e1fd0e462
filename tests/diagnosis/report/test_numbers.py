"""The report's tables, in a page and in Markdown, figure by figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from factories.charts import read_marks
from factories.diagnoses import LONG, invented
from robustmerge.diagnosis.report import files
from robustmerge.diagnosis.report.matrices import draw_matrices
from robustmerge.diagnosis.report.merges import draw_merges
from robustmerge.diagnosis.report.numbers import make_tables
from robustmerge.diagnosis.report.page import render_page
from robustmerge.diagnosis.tables import POOLED, Diagnosis


def test_adapters() -> None:
    assert make_tables(invented())[0].rows == (
        ("vqa", "5", "1.6%", "34%", "3", "3.5", "2.5", "50%"),
        ("ocr", "10", "5.3%", "69%", "6", "1.4", "0.25", "75%"),
        ("cap", "15", "2.9%", "56%", "4.5", "2.2", "4", "10%"),
    )
    without = tuple(replace(row, change=None) for row in invented().spectra)
    assert make_tables(replace(invented(), spectra=without))[0].rows[0][2] == "–"


def test_change_is_a_column_only_with_a_base() -> None:
    with_base, without = (make_tables(replace(invented(), base=b))[0] for b in ("base", None))
    assert with_base.columns[:4] == ("adapter", "norm", "change", "energy in σ₁")
    assert without.columns == (*with_base.columns[:2], *with_base.columns[3:])
    assert without.rows == tuple((*row[:2], *row[3:]) for row in with_base.rows)


def test_merges() -> None:
    assert make_tables(invented())[1].rows == (
        ("sum", "1.30", "0.60", "80%", "11%", "5%", "4%", "0.90", "0.40", "0.50", "0.10"),
        (LONG, "0.20", "1.20", "10%", "20%", "30%", "40%", "0.80", "0.44", "0.39", "0.14"),
    )
    small = tuple(replace(row, both=-1e-3) for row in invented().directions)
    assert make_tables(replace(invented(), directions=small))[1].rows[0][-2:] == ("0.00", "0.00")


def test_a_table_in_a_page_is_of_its_part() -> None:
    text = render_page(invented())
    for table, part in zip(make_tables(invented()), ("before", "after"), strict=True):
        section = text.split(f'<section id="{part}">')[1].split("</section>")[0]
        assert section.count("<table>") == 1
        assert f"<h3>{table.title}</h3>" in section
        assert f"<p>{table.lead}</p>".replace("'", "&#x27;") in section
        for name, *cells in table.rows:
            row = "".join(f"<td>{cell}</td>" for cell in cells)
            assert f'<th scope="row">{name}</th>{row}</tr>' in section


def test_markdown(tmp_path: Path) -> None:
    diagnosis = replace(renamed("vqa", "v|a"), notes=("of two bases",))
    files.write_report(diagnosis, tmp_path, "md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    start = (
        "# v\\|a, ocr, cap\n\n2 modules, 3 adapters, 2 merges.\n\n> of two bases\n\n## Verdict\n\n"
    )
    assert text.startswith(start)
    assert "## Verdict\n\n- **bad, compatibility:** v\\|a and cap oppose" in text
    assert "\n- **note, suggested start:** Start with -m drift" in text
    assert "is enough for 99% of a sum's energy. (energy at input rank 0.6, rank for 99% 8)" in text
    before, after = text.split("\n## After merging\n\n")
    for table, part in zip(make_tables(diagnosis), (before, after), strict=True):
        assert f"### {table.title}\n\n| " in part
        assert f"\n\n{table.lead}\n\n" in part
    assert "\n| v\\|a | 5 | 1.6% | 34% |" in before
    assert "modules in this position. Definitions: `robustmerge/diagnosis/spectrum.py`." in before


def renamed(name: str, other: str) -> Diagnosis:
    diagnosis = invented()
    tables = {
        table: tuple(
            replace(row, **{k: other for k, v in vars(row).items() if v == name})
            for row in getattr(diagnosis, table)
        )
        for table in POOLED
    }
    return replace(diagnosis, adapters=(other, *diagnosis.adapters[1:]), **tables)


def test_chance_is_that_of_the_side() -> None:
    charts = {figure.name: figure for figure in draw_matrices(invented())}
    leads = {name: figure.lead for name, figure in charts.items()}
    words = "Mean squared cosine of the principal angles of the {} subspaces: 1 if they are equal, "
    words += "{} for unrelated subspaces of these ranks."
    assert leads["matrix-inputs"] == words.format("input", 0.037)
    assert leads["matrix-outputs"] == words.format("output", 0.057)
    for side, chance in (("inputs", "0.010"), ("outputs", "0.030")):
        (square, _) = (
            mark
            for mark in read_marks(charts[f"matrix-{side}"])
            if (mark["first"], mark["second"]) == ("vqa", "ocr")
        )
        assert square["by chance"] == chance


def test_energy_of_merges_by_origin() -> None:
    (chart, _) = draw_merges(invented())
    drawn = {(mark["merged"], mark["part"]): mark["share"] for mark in read_marks(chart)}
    assert drawn == {
        ("sum", "span of the updates"): "80%",
        ("sum", "recombined"): "11%",
        ("sum", "cross terms"): "5%",
        ("sum", "unattributed"): "4%",
        (LONG, "span of the updates"): "10%",
        (LONG, "recombined"): "20%",
        (LONG, "cross terms"): "30%",
        (LONG, "unattributed"): "40%",
    }
