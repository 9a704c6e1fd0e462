"""Rows that others printed: which of their averages may be compared with ours."""

from __future__ import annotations

from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.study.published import PublishedRow, read_published
from robustmerge_bench.paper.study.tables.score_tables import SourceNotes
from robustmerge_bench.paper.tasks import SEEN, TASKS, select_tasks

TWO = select_tasks("vqav2,rec")


def row(**values: float) -> PublishedRow:
    return PublishedRow("a", "a paper", values)


def test_a_printed_average_stands_for_the_tasks_it_is_of() -> None:
    both = row(vqav2=60.0, rec=41.0, seen=50.4)
    assert both.average(TWO, "seen") == 50.4
    # Of one of the two tasks, ours is the mean of one, and the printed one is of both.
    assert both.average(select_tasks("rec"), "seen") == 41.0
    # Of three tasks there is none, as one was not printed.
    assert both.average(select_tasks("vqav2,rec,ocrvqa"), "seen") is None
    assert row(vqav2=60.0, rec=41.0).average(TWO, "seen") == 50.5
    assert row(vqav2=60.0, seen=60.0).average(TWO, "seen") is None


def test_an_average_without_values_stands_for_all_tasks() -> None:
    alone = row(seen=57.3)
    assert alone.average(SEEN, "seen") == 57.3
    assert alone.average(TWO, "seen") is None
    assert row(seen=57.3, tabmwp=1.0).average(SEEN, "seen") == 57.3


@pytest.mark.parametrize(
    ("printed", "slips"),
    [
        (50.5, False),
        (50.49, False),
        (50.51, False),
        (50.42, True),
        (50.4, False),
        (50.3, True),
        (51.0, True),
    ],
)
def test_a_slip_is_more_than_rounding(printed: float, slips: bool) -> None:
    """The mean is 50.5; what is printed with fewer decimals may be further off."""
    result = SourceNotes()
    mark = result.slip(row(vqav2=60.0, rec=41.0, seen=printed), "seen", TWO)
    assert bool(mark) == slips
    assert len(result.notes) == slips


def test_every_source_has_one_letter() -> None:
    result = SourceNotes()
    other = PublishedRow("b", "another", {})
    assert [result.mark(each) for each in (row(), other, row())] == ["a", "b", "a"]
    assert result.notes == [("a", "a paper"), ("b", "another")]


def block(**changes: Any) -> dict[str, Any]:
    return {"source": "s", "columns": ["rec", "seen"], "rows": {"x": [1, None]}, **changes}


def test_blocks_as_they_are_read() -> None:
    first, second = read_published(
        [block(), block(source="t", protocol="fixed", note=" Said. ", rows={"y": [2.5, 3]})]
    )
    assert first == PublishedRow("x", "s", {"rec": 1.0})
    assert second == PublishedRow("y", "t", {"rec": 2.5, "seen": 3.0}, "fixed", "Said.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": ""}, ["the rows have no source"]),
        ({"sorce": "x"}, ["'sorce'", "did you mean source?"]),
        ({"protocol": "fxed"}, ["unknown protocol 'fxed'", "did you mean fixed?"]),
        ({"columns": []}, ["columns = [] is not a list of tasks"]),
        ({"columns": ["rce", "seen"]}, ["unknown column 'rce'", "did you mean rec?"]),
        ({"columns": ["rec", "rec"]}, ["columns has rec more than once"]),
        ({"rows": 3}, ["rows must be a table"]),
        ({"rows": {"x": [1]}}, ["1 values for 2 columns", "row x", "columns: rec, seen"]),
        ({"rows": {"x": ["1", 2]}}, ["is not a list of numbers", "row x"]),
        ({"rows": {"x": [True, 2]}}, ["is not a list of numbers"]),
        ({"rows": {"x": 3}}, ["3 is not a list of numbers"]),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(MergeError) as caught:
        read_published([block(), block(**change)])
    for word in [*words, "block 2 of published"]:
        assert word in str(caught.value)


def test_every_average_is_of_a_group_that_there_is() -> None:
    groups = {task.group for task in TASKS.values()}
    assert {"seen", "unseen", "vision"} <= groups
