"""Boxes in several units, among other words, and on the square of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.metrics.boxes import Box
from robustmerge_bench.paper.data.questions import Question
from robustmerge_bench.paper.scoring.boxes import detect_unit, find_box, right_box, to_square


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("[0.1, 0.2, 0.5, 1]", (0.1, 0.2, 0.5, 1)), ("0.1 0.2 0.5 1", (0.1, 0.2, 0.5, 1)),
        ("The box is [0.1,0.2,0.5,1].", (0.1, 0.2, 0.5, 1)),
        ("[[0.1,0.2,0.5,1]]", (0.1, 0.2, 0.5, 1)), ("at (1, 2, 3, 4), left", (1, 2, 3, 4)),
        ("a [b] [1, 2, 3, 4]", (1, 2, 3, 4)),
        ("[1, 2, 3, 4] or [1, 2, 3, 5]", None), ("left 1, 2, 3, 4 right", None), ("", None),
        ("[3, 2, 1, 4]", None), ("box [1, 2, 3]", None), ("[1, 2, 3, 4", None),
    ],
)  # fmt: skip
def test_the_only_box(text: str, box: Box | None) -> None:
    assert find_box(text) == box


def box_question(size: Any = (400, 200), box: Any = "[0, 0, 1, 1]") -> Question:
    content = {"size": list(size) if isinstance(size, tuple) else size, "answer_bbox": box}
    return Question(str(Path("q.json, record 3")), 1, "", None, content)


@pytest.mark.parametrize(
    ("box", "unit"),
    [
        ((0.1, 0.2, 0.5, 1.2), "square"),
        ((100.0, 250.0, 500.0, 900.0), "thousandths"),  # beyond 400 x 200
        ((100.0, 50.0, 300.0, 390.0), "thousandths"),  # below it
        ((100.0, 50.0, 500.0, 150.0), "thousandths"),  # right of it
        ((100.0, 50.0, 300.0, 190.0), "square"),  # within: either
        ((100.0, 50.0, 300.0, 1200.0), "square"),  # neither
    ],
)
def test_the_unit_of_many_boxes(box: Box, unit: str) -> None:
    assert detect_unit([(box, box_question())] * 20) == unit


def test_pixels_of_large_pictures() -> None:
    large, small = box_question((3000, 2000)), box_question((400, 200))
    boxes = [((100.0, 50.0, 300.0, 190.0), small)] * 10 + [((0.0, 0.0, 1500.0, 900.0), large)]
    assert detect_unit(boxes) == "pixels"
    assert detect_unit(boxes[:10]) == "square"
    assert detect_unit([*boxes, ((0.0, 0.0, 500.0, 100.0), small)]) == "square"  # one of 12 beyond


def test_a_tenth_in_another_unit_is_no_unit() -> None:
    shares: tuple[Box, Question] = ((0.1, 0.2, 0.5, 0.9), box_question())
    thousandths: tuple[Box, Question] = ((100.0, 250.0, 500.0, 900.0), box_question())
    assert detect_unit([shares] * 2 + [thousandths] * 8) == "square"
    assert detect_unit([shares] * 1 + [thousandths] * 9) == "thousandths"
    assert detect_unit([]) == "square"


def test_on_the_square_of_a_wide_and_of_a_tall_picture() -> None:
    """400 x 200 stands 100 below the top of its square of 400; 200 x 400 100 to the right."""
    box = (100.0, 50.0, 200.0, 150.0)
    assert to_square(box, "pixels", box_question((400, 200))) == (0.25, 0.375, 0.5, 0.625)
    assert to_square(box, "pixels", box_question((200, 400))) == (0.5, 0.125, 0.75, 0.375)
    whole = (0.0, 0.0, 1000.0, 1000.0)
    assert to_square(whole, "thousandths", box_question((400, 200))) == (0, 0.25, 1, 0.75)
    assert to_square(whole, "thousandths", box_question((200, 400))) == (0.25, 0, 0.75, 1)
    assert to_square(box, "square", box_question(None)) == box


@pytest.mark.parametrize("unit", ["thousandths", "pixels"])
def test_perfect_answers_in_any_unit(scoring: Any, unit: str) -> None:
    width, height = (2000, 1400) if unit == "pixels" else (640, 480)
    questions, answers = [], []
    for i in range(10):
        x1, y1, x2, y2 = 0.1 + i / 40, 0.2, 0.5 + i / 40, 0.8
        left, top = 0.0, (width - height) / 2 / width
        square = [x1, top + y1 * height / width, x2, top + y2 * height / width]
        assert left == 0
        wide, high = (width, height) if unit == "pixels" else (1000, 1000)
        said = [round(v) for v in (x1 * wide, y1 * high, x2 * wide, y2 * high)]
        questions.append({"question_id": i, "answer_bbox": str(square), "size": [width, height]})
        answers.append((i, str(said)))
    score = scoring.score("rec", questions, answers, "fixed")
    assert (score.value, score.parts) == (100, {f"in {unit}": 100})
    assert scoring.score("rec", questions, answers, "official").value == 0


def test_shares_need_no_size_and_the_last_digit_counts(scoring: Any) -> None:
    questions = [{"question_id": 1, "answer_bbox": "[0.2, 0.2, 0.6, 0.6]"}]
    for text in "[0.2, 0.2, 0.6, 0.6]", "The box: [0.2, 0.2, 0.6, 0.6].", "(.2 .2 .6 .6)":
        assert scoring.scores("rec", questions, [(1, text)], "fixed") == [100]
    score = scoring.score("rec", questions, [(1, "left")], "fixed")
    assert (score.value, score.unparsable, score.empty, score.parts) == (0, 1, 0, {})
    questions = [{"question_id": 1, "answer_bbox": "[0.25, 0.25, 0.75, 0.75]"}]
    assert scoring.scores("rec", questions, [(1, "[0.25, 0.25, 0.5, 0.75]")], "fixed") == [0]
    with pytest.raises(MergeError, match="no size"):
        scoring.score("rec", questions, [(1, "[0.2, 0.2, 0.6, 0.6]")], "official")


@pytest.mark.parametrize("box", [None, "", "[1, 2, 3]", "[1, 1, 0, 2]", "[a, b, c, d]", [1, 2], 3])
def test_a_reference_is_a_box(box: Any) -> None:
    with pytest.raises(MergeError, match="answer_bbox is") as caught:
        right_box(box_question(box=box))
    assert caught.value.where == "q.json, record 3"


def test_how_references_are_written() -> None:
    assert right_box(box_question(box="[0.1,0.2, 0.3 ,1]")) == [0.1, 0.2, 0.3, 1]
    assert right_box(box_question(box=[0.1, 0.2, 0.3, 1])) == [0.1, 0.2, 0.3, 1]


@pytest.mark.parametrize("size", [None, "640x480", (640,), (0, 480), (640, -1), ("640", "480")])
def test_a_size_is_two_numbers(size: Any) -> None:
    box = (100.0, 250.0, 500.0, 900.0)
    with pytest.raises(MergeError, match="size"):
        to_square(box, "pixels", box_question(size))
