"""Boxes: what is one, and how far two overlap."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from robustmerge.errors import MergeError
from robustmerge_bench.metrics import box_match
from robustmerge_bench.metrics.boxes import Box, iou, parse

COORDINATE = st.integers(0, 12)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x1, y1 = draw(COORDINATE), draw(COORDINATE)
    width, height = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    return float(x1), float(y1), float(x1 + width), float(y1 + height)


@pytest.mark.parametrize(
    "answer",
    [
        "[0.12, 0.34, 0.56, 1]", "[0.12,0.34,0.56,1.0]", "(0.12, 0.34, 0.56, 1.)", ".12 .34 .56 1",
        "0.12,0.34,0.56,1", " [ 0.12 , 0.34 , 0.56 , 1 ] ", "[+0.12, 0.34, 0.56, 1].",
        "0.12 0.34\n0.56 1",
    ],
)  # fmt: skip
def test_a_box(answer: str) -> None:
    assert parse(answer) == (0.12, 0.34, 0.56, 1.0)


def test_the_last_digit_is_kept_and_negative_numbers_are_numbers() -> None:
    assert parse("[-3, 0, 12.25, 0.789]") == (-3.0, 0.0, 12.25, 0.789)


@pytest.mark.parametrize(
    "answer",
    [
        "", "[]", "[1, 2, 3]", "[1, 2, 3, 4, 5]", "[1, 2, 3, 4", "1, 2, 3, 4]", "[1, 2, 3, 4)",
        "the box is [1, 2, 3, 4]", "[1, 2, 3, 4] [5, 6, 7, 8]", "[1, 2, 3, x]", "[1, 2, nan, inf]",
        "[1e0, 2, 3, 4]", "[1,, 2, 3, 4]", "[1; 2; 3; 4]", "[[1, 2, 3, 4]]", "1234",
        "[1, 2, 3, 4]..",
        "[٠, 0, 1, 1]", "[., 0, 1, 1]",
        "[3, 2, 1, 4]", "[1, 4, 3, 2]", "[1, 2, 1, 4]", "[1, 2, 3, 2]", "[3, 4, 1, 2]",
    ],
)  # fmt: skip
def test_no_box(answer: str) -> None:
    assert parse(answer) is None
    assert box_match(answer, ("[1, 2, 3, 4]",)) == 0


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 4, 2), (1, 0, 3, 1), 2 / 8),  # one within the other
        ((0, 0, 1, 1), (1, 0, 2, 1), 0),  # side by side
        ((0, 0, 1, 1), (2, 2, 3, 3), 0),  # apart both ways: the signs must not cancel
        ((0, 0, 10, 1), (0, 0, 1, 10), 1 / 19),
    ],
)
def test_overlaps_by_hand(a: tuple[int, ...], b: tuple[int, ...], share: float) -> None:
    first, second = tuple(map(float, a)), tuple(map(float, b))
    assert iou(first, second) == pytest.approx(share)  # type: ignore[arg-type]


@given(boxes(), boxes())
def test_overlap_is_a_share_of_unit_squares(a: Box, b: Box) -> None:
    def squares(box: Box) -> set[tuple[int, int]]:
        x1, y1, x2, y2 = map(int, box)
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    share = len(squares(a) & squares(b)) / len(squares(a) | squares(b))
    assert iou(a, b) == pytest.approx(share)
    assert iou(a, b) == iou(b, a)
    assert iou(a, a) == 1


@given(boxes())
def test_a_perfect_answer_gets_100(box: Box) -> None:
    x1, y1, x2, y2 = box
    assert box_match(f"{x1} {y1} {x2} {y2}", (f"[{x1}, {y1}, {x2}, {y2}]",)) == 100


def test_half_is_not_enough() -> None:
    assert iou((0.0, 0.0, 2.0, 1.0), (0.0, 0.0, 1.0, 1.0)) == 0.5
    assert box_match("[0, 0, 1, 1]", ("[0, 0, 2, 1]",)) == 0
    assert box_match("[0, 0, 1.01, 1]", ("[0, 0, 2, 1]",)) == 100
    assert box_match("[0, 0, 1, 1]", ("[0, 0, 2, 1]",), threshold=0.4) == 100
    assert box_match("[0, 0, 1, 1]", ("[5, 5, 6, 6]", "[0, 0, 1, 1]")) == 100


def test_a_reference_must_be_a_box() -> None:
    with pytest.raises(MergeError, match=r"'\[2, 0, 1, 1\]' is not a box"):
        box_match("[0, 0, 1, 1]", ("[0, 0, 1, 1]", "[2, 0, 1, 1]"))
