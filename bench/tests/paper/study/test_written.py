"""Tables as they are written: Markdown, LaTeX, a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bench_factories.studies import answers, record
from robustmerge_bench.paper.score import Score
from robustmerge_bench.paper.study.published import PublishedRow
from robustmerge_bench.paper.study.tables.report import StudyReport, make_report
from robustmerge_bench.results.html import report_as_page
from robustmerge_bench.results.latex import escape, report_as_latex
from robustmerge_bench.results.markdown import report_as_markdown, table_lines
from robustmerge_bench.results.table import (
    ReportSection,
    ResultReport,
    ResultTable,
    TableCell,
    TableColumn,
    TableRow,
)

GOLDEN = Path(__file__).parent / "golden"
ODD = "50 % & <b>_#1_ {x}|*"


def right(n: int) -> np.ndarray:
    """Ten samples of which so many are right."""
    return np.where(np.arange(10) < n, 100.0, 0.0)


@pytest.fixture
def report(tmp_path: Path) -> StudyReport:
    """Three contenders with everything there can be, and names that must be escaped."""
    captions = Score(
        "vizwiz", "official", "captions", tuple(range(10)), np.ones((10, 12)), missing=("METEOR",)
    )
    tasks = ("vqav2", "vizwiz", "tabmwp")
    scores = {
        "zero-shot": {t: answers(t, right(4), chance=10.0) for t in ("vqav2", "tabmwp")},
        "individual": {"vqav2": answers("vqav2", right(9))},
        "TIES": {
            "vqav2": answers("vqav2", right(8), unparsable=0.1),
            "tabmwp": answers("tabmwp", right(5)),
        },
        ODD: {"vqav2": answers("vqav2", right(7)), "tabmwp": answers("tabmwp", right(6))},
    }
    for of_label in scores.values():
        of_label["vizwiz"] = captions
    del scores[ODD]["vizwiz"]
    printed = [
        PublishedRow("TIES", "A & B, table 2", {"vqav2": 66.73, "vizwiz": 44.0, "seen": 56.0}),
        PublishedRow("PCB", "A & B, table 2", {"tabmwp": 15.44}),
    ]
    record(
        tmp_path,
        scores,
        kinds={"zero-shot": "zero-shot", "individual": "individual"},
        tasks=tasks,
        published=printed,
        failures={ODD: {"vizwiz": "no picture <a>_1.png\n  where: b"}},
        note="Made up, & small.",
    )
    return make_report(tmp_path, draws=2000)


@pytest.mark.parametrize(
    ("name", "write"), [("tables.md", report_as_markdown), ("tables.tex", report_as_latex)]
)
def test_golden(report: StudyReport, tmp_path: Path, name: str, write: object) -> None:
    """Whoever changes the tables reads them: `cp` what the failure names over the golden file."""
    assert callable(write)
    text = write(report)
    fresh = tmp_path / name
    if text != (GOLDEN / name).read_text():
        fresh.write_text(text)
    assert text == (GOLDEN / name).read_text(), f"cp {fresh} {GOLDEN / name}"


def test_rows_of_markdown_have_as_many_cells_as_the_head(report: StudyReport) -> None:
    for section in report.sections:
        for table in section.tables:
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table_lines(table)]
            assert {len(row) for row in rows} == {len(table.columns) + 1}
            assert (
                len({len(line) for line in table_lines(table)}) == 1
            )  # columns stand below each other


def test_latex_that_compiles_in_form(report: StudyReport) -> None:
    text = report_as_latex(report)
    assert text.count("\\begin{") == text.count("\\end{")
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert re.sub(r"\\\$", "", text).count("$") % 2 == 0
    assert not re.findall(r"(?<!\\)[#_]", re.sub(r"tab:\S+|%.*", "", plain))
    for tabular in re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}(.*?)\\end\{tabular\}", text, re.S):
        columns, body = tabular
        for row in re.findall(r"^(.*) \\\\$", body, re.M):
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            cells = len(re.split(r"(?<!\\)&", row)) + sum(spans) - len(spans)
            assert cells == len(columns)
    assert "\\cmidrule(lr){2-4}\\cmidrule(lr){5-5}" in text


def test_wide_tables_are_fitted_to_the_page() -> None:
    columns = tuple(TableColumn(str(i)) for i in range(9))
    rows = (TableRow("a", "merge", (TableCell("1.0"),) * 9),)
    section = ReportSection("s", "S", "some rules", (ResultTable("w", "Wide", "", columns, rows),))
    text = report_as_latex(ResultReport("Wide", "", "base", (section,)))
    assert "\\begin{table*}" in text
    assert "\\resizebox{\\textwidth}{!}{%" in text
    assert text.index("\\end{tabular}") < text.index("\n}\n") < text.index("\\end{table*}")


def test_signs_of_latex() -> None:
    assert escape("a_b & 50 % ± {x}^2 ~ \\ # $ † –") == (
        r"a\_b \& 50 \% $\pm$ \{x\}\textasciicircum{}2 \textasciitilde{} "
        r"\textbackslash{} \# \$ $^\dagger$ --"
    )


class TagChecker(HTMLParser):
    """Checks that tags are closed in order, and gathers what the page says and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.rows: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [
            str(v) for k, v in attrs if k in ("src", "href") and not str(v).startswith("#")
        ]
        self.loads += [tag] if tag in ("script", "link", "iframe") else []
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan") or 1)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_stands_alone(report: StudyReport) -> None:
    page = report_as_page(report)
    tags = TagChecker()
    tags.feed(page)
    assert tags.open == []
    assert tags.loads == []
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    output = "".join(tags.texts)
    assert ODD in output
    assert "no picture <a>_1.png" in output
    assert "<b>_#1_" not in page
    assert "Made up, & small." in output
    widths = [len(table.columns) + 1 for table in report.sections[0].tables for _ in table.rows]
    assert set(widths) <= set(tags.rows)


def test_the_page_shows_intervals(report: StudyReport) -> None:
    page = report_as_page(report)
    figures = re.findall(
        r'class="range" style="left:([\d.]+)%;right:calc\(100% - ([\d.]+)%\)"', page
    )
    dots = [float(x) for x in re.findall(r'class="dot" style="left:([\d.]+)%"', page)]
    assert len(figures) == len(dots) >= 3
    for (low, high), dot in zip(figures, dots, strict=True):
        assert 0 <= float(low) <= dot <= float(high) <= 100
