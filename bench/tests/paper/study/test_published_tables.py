"""Tables with rows that others printed, next to the measured ones."""

from __future__ import annotations

from pathlib import Path

from bench_factories.study_tables import row, section, task_scores, texts
from robustmerge_bench.paper.study.published import PublishedRow

PAPER = {
    "a": PublishedRow(
        "a", "Paper, table 2", {"vqav2": 61.25, "rec": 44.0, "seen": 52.63, "tabmwp": 31.0}
    ),
    "experts": PublishedRow(
        "experts", "Paper, table 2", {"vqav2": 80.5, "rec": 50.0, "seen": 65.25}
    ),
    "alone": PublishedRow(
        "alone", "Paper, table 2", {"vqav2": 1.5, "rec": 3.0, "seen": 7.0, "tabmwp": 4.0}
    ),
    "rerun": PublishedRow("a", "a rerun", {"vqav2": 70.0}, note="By hand."),
}


def test_published_rows_stand_beside_the_measured_ones(tmp_path: Path) -> None:
    scores = {"experts": task_scores(80, 50), "a": task_scores(60, 45, 30)}
    result = section(tmp_path, scores, published=list(PAPER.values()))
    grid, averages = result.tables[:2]
    sorts = [(x.label, x.kind, x.mark) for x in grid.rows]
    assert sorts == [
        ("experts", "individual", ""),
        ("experts", "published", "a"),
        ("a", "merge", ""),
        ("a", "published", "a"),
        ("a", "published", "b"),
        ("alone", "elsewhere", "a"),
    ]
    assert texts(grid, "a", "merge") == ["60.00", "45.00", "52.50", "30.00"]
    paper, rerun = (x for x in grid.rows if x.label == "a" and x.kind == "published")
    assert [c.text for c in paper.cells] == ["61.25", "44.00", "52.63", "31.00"]
    # No mean of one of two values.
    assert [c.text for c in rerun.cells] == ["70.00", "–", "–", "–"]
    alone = row(grid, "alone")
    assert (alone.cells[2].text, alone.cells[2].mark) == ("7.00", "c")
    assert result.notes == (
        ("a", "Paper, table 2"),
        ("b", "a rerun. By hand."),
        ("c", "alone: printed as 7.0, though the values next to it have the mean 2.25."),
    )
    share = 100 * (61.25 / 80.5 + 44 / 50) / 2
    assert texts(averages, "alone")[2] == f"{100 * (1.5 / 80.5 + 3 / 50) / 2:.1f}"
    assert [c.text for c in averages.rows[3].cells][2] == f"{share:.1f}"
    assert averages.rows[3].cells[3].detail == "VQA"


def test_published_shares_are_of_the_experts_of_the_same_source(tmp_path: Path) -> None:
    rows = [
        PublishedRow(label, source, {"vqav2": value, "rec": value})
        for source, values in (("one", (80.0, 40.0)), ("two", (50.0, 40.0)))
        for label, value in zip(("experts", "a"), values, strict=True)
    ]
    scores = {"experts": task_scores(80, 50), "a": task_scores(60, 45, 30)}
    averages = section(tmp_path, scores, published=rows).tables[1]
    shares = [x.cells[2].text for x in averages.rows if (x.label, x.kind) == ("a", "published")]
    assert shares == ["50.0", "80.0"]


def test_published_rows_are_shown_with_the_rules_they_were_scored_by(tmp_path: Path) -> None:
    fixed = PublishedRow("a", "elsewhere", {"vqav2": 1.0}, protocol="fixed")
    result = section(tmp_path, {"a": task_scores(50, 50, 50)}, published=[fixed])
    assert [x.kind for x in result.tables[0].rows] == ["merge"]
