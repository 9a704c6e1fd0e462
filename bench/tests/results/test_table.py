"""The table model, and how Markdown writes it."""

from __future__ import annotations

from robustmerge_bench.results.markdown import aligned, compact, table_lines
from robustmerge_bench.results.resampling import ScoreEstimate
from robustmerge_bench.results.table import (
    MISSING,
    NONE,
    ResultTable,
    TableCell,
    TableColumn,
    TableRow,
    mark_best,
)


def row(label: str, *values: float | None, kind: str = "merge") -> TableRow:
    return TableRow(label, kind, tuple(TableCell.of(value, 1) for value in values))


def best(rows: list[TableRow]) -> list[list[bool]]:
    return [[cell.best for cell in row.cells] for row in rows]


def test_a_cell_has_the_decimals_of_its_table_and_half_the_interval() -> None:
    assert TableCell.of(1.25, 1) == TableCell("1.2")
    assert TableCell.of(None, 1, "†") == TableCell(NONE, mark="†")
    estimate = ScoreEstimate(50.0, 48.0, 53.0)
    assert TableCell.of(estimate, 2) == TableCell("50.00", "±2.50")
    assert (TableCell("1.5").number, TableCell(NONE).number) == (1.5, None)
    assert TableCell(MISSING).number is None


def test_the_best_merges_of_a_column_are_marked_ties_too() -> None:
    rows = [row("experts", 9.0, 9.0, kind="individual"), row("a", 2.0, None), row("b", 2.0, 1.0)]
    assert best(mark_best(rows)) == [[False, False], [True, False], [True, True]]
    assert best(mark_best(rows, 1)) == [[False, False], [True, False], [True, False]]


def test_a_merge_without_rivals_is_not_marked() -> None:
    assert best(mark_best([row("a", 2.0), row("experts", 1.0, kind="individual")])) == [
        [False],
        [False],
    ]


def test_markdown_of_texts() -> None:
    rows = [["a", "1"], ["long", "22.5"]]
    assert aligned(["", "x"], rows) == [
        "|      |    x |",
        "| ---- | ---: |",
        "| a    |    1 |",
        "| long | 22.5 |",
    ]
    assert compact(["", "x"], rows, left=2) == [
        "|  | x |",
        "| --- | --- |",
        "| a | 1 |",
        "| long | 22.5 |",
    ]


def test_a_long_label_is_cut_and_marks_stand_behind_values() -> None:
    cells = (TableCell("2", mark="*"), TableCell("3", "±1", mark="a"))
    columns = (TableColumn("x"), TableColumn("y"))
    table = ResultTable("", "", "", columns, (TableRow("a_long_label", "merge", cells),))
    assert table_lines(table)[-1] == r"| a\_long\_label |  2* | 3 ±1 (a) |"
    assert table_lines(table, 4)[-1] == r"| a\_l… |  2* | 3 ±1 (a) |"
