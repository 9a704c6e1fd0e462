"""The released scripts' rules: every oddity that evaluation by them has."""

from __future__ import annotations

from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.scoring.official import cut_box


def one_answer(answer: str) -> list[dict[str, Any]]:
    return [{"question_id": 1, "answer": answer}]


@pytest.mark.parametrize("task", ["iconqa", "tabmwp", "aokvqa", "vqav2", "ocrvqa"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [("B", 100), ("b", 100), ("B.", 0), (" B", 0), ("", 0), ("B, I think", 0), ("C", 0)],
)
def test_equal_but_for_case(scoring: Any, task: str, text: str, expected: float) -> None:
    assert scoring.scores(task, one_answer("B"), [(1, text)], "official") == [expected]


def test_upper_case_is_not_lower_case(scoring: Any) -> None:
    """STRASSE is ß in capitals; OCR-VQA compares in lower case, the others in upper case."""
    assert scoring.scores("iconqa", one_answer("STRASSE"), [(1, "straße")], "official") == [100]
    assert scoring.scores("ocrvqa", one_answer("STRASSE"), [(1, "straße")], "official") == [0]


@pytest.mark.parametrize("task", ["iconqa", "tabmwp", "aokvqa", "ocrvqa", "rec"])
def test_ids_have_a_type(scoring: Any, task: str) -> None:
    questions = [{"question_id": 3, "answer": "x", "answer_bbox": "[0,0,1,1]", "size": [4, 4]}]
    with pytest.raises(MergeError, match="of id '3'") as caught:
        scoring.score(task, questions, [("3", "x")], "official")
    assert "there is 3" in caught.value.hint
    assert "predictions.jsonl, line 1" in caught.value.where


def test_but_not_in_vqav2(scoring: Any) -> None:
    questions = [{"question_id": 3, "answer": "x"}, {"question_id": "4", "answer": "y"}]
    assert scoring.scores("vqav2", questions, [("3", "x"), (4, "Y")], "official") == [100, 100]


def test_the_denominator_is_the_lines_of_answers(scoring: Any) -> None:
    questions = [{"question_id": i, "answer": "x"} for i in range(4)]
    score = scoring.score("iconqa", questions, [(0, "x"), (1, "y"), (0, "x")], "official")
    assert (score.n, score.value) == (3, pytest.approx(200 / 3))
    assert score.ids == (0, 1, 0)


def test_of_questions_with_one_id_the_last_counts(scoring: Any) -> None:
    questions = [{"question_id": 1, "answer": "old"}, {"question_id": 1, "answer": "new"}]
    assert scoring.scores("iconqa", questions, [(1, "new"), (1, "old")], "official") == [100, 0]


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("unanswerable", "unanswerable", 100), ("Unanswerable", "unanswerable", 0),
        ("Unanswerable", "Unanswerable", 0), ("It is Unanswerable", "it is unanswerable", 0),
        ("UNANSWERABLE", "unanswerable", 100),
    ],
)  # fmt: skip
def test_unanswerable_is_never_right(scoring: Any, text: str, answer: str, expected: float) -> None:
    assert scoring.scores("ocrvqa", one_answer(answer), [(1, text)], "official") == [expected]


@pytest.mark.parametrize("task", ["imagenet", "imagenet-r"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hip", 100), ("A ship", 100), ("", 100), ("h", 100), ("I", 100), ("Tub, Fig, Hip", 100),
        ("hit", 0), (" ", 0), ("p.", 0),
    ],
)  # fmt: skip
def test_one_within_the_other(scoring: Any, task: str, text: str, expected: float) -> None:
    assert scoring.scores(task, one_answer("Hip"), [(1, text)], "official") == [expected]


def test_classes_are_matched_by_place(scoring: Any) -> None:
    questions = [{"question_id": 1, "answer": "tub"}, {"question_id": 2, "answer": "fig"}]
    answers = [(2, "tub"), (1, "fig")]
    score = scoring.score("imagenet", questions, answers, "official")
    assert score.rows[:, 0].tolist() == [100, 100]
    assert score.chance == 50
    many = [{"question_id": i, "answer": "tub" if i else "fig"} for i in range(5)]
    assert scoring.score("imagenet", many, answers, "official").chance == 50
    assert scoring.score("imagenet", many[1:], answers, "official").chance is None
    assert scoring.score("imagenet", questions, answers[:1], "official").n == 1
    with pytest.raises(MergeError, match="3 answers to 2 questions") as caught:
        scoring.score("imagenet", questions, [*answers, (3, "x")], "official")
    assert "predictions.jsonl, line 3" in caught.value.where


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[0.12,0.34,0.56,0.78]", [0.12, 0.34, 0.56, 0.7]),
        ("[0.12, 0.34, 0.56, 0.78]", [0.12, 0.34, 0.56, 0.7]),
        ("0.12,0.34,0.56,0.78", [0.12, 0.34, 0.56, 0.7]),
        ("[[0.12,0.34,0.56,0.78]]", [0.12, 0.34, 0.56, 0.7]),
        ("[0.12,0.34,0.56,0.78].", [0.12, 0.34, 0.56, 0.78]),
        ("(0.12,0.34,0.56,0.78)", [0.12, 0.34, 0.56, 0.78]),
        ("[0.123,0.345,0.567,0.789]", [0.123, 0.345, 0.567, 0.78]),
        ("[1.0,0.34,0.56,0.78]", [0.0, 0.34, 0.56, 0.7]),
        ("[0.12, 0.34, 0.56, 0.7]", [0.12, 0.34, 0.56, 0.0]),
    ],
)
def test_what_is_cut_off_a_box(text: str, read: list[float]) -> None:
    assert cut_box(text) == pytest.approx(read)


@pytest.mark.parametrize(
    "text",
    [
        "[0,0.34,0.56,0.78]", "[0.12,0.34,0.56,1]", "The box is [0.12,0.34,0.56,0.78]", "",
        "[0.1,0.2,0.3]", "[0.1,0.2,0.3,0.4,0.5]", "[0.1 0.2 0.3 0.4]", "a",
    ],
)  # fmt: skip
def test_no_box(text: str) -> None:
    assert cut_box(text) is None


def rec(box: str, size: Any = (640, 480)) -> list[dict[str, Any]]:
    return [{"question_id": 1, "answer_bbox": box, "size": list(size)}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(0.25, 0.25, 0.75, 0.75)", 100),
        ("[0.250, 0.25, 0.75, 0.750]", 100),
        ("[0.25, 0.25, 0.75, 0.5]", 0),  # 0.5 is read as 0.
        ("(0.25, 0.25, 0.5, 0.75)", 0),  # exactly half
        ("(0.25, 0.25, 0.51, 0.75)", 100),
        ("(0.75, 0.75, 0.25, 0.25)", 0),  # corners in the wrong order
        ("(nan, 0.25, 0.75, 0.75)", 0),
        ("(1.05, 1.05, 1.15, 1.15)", 0),  # apart both ways: the signs must not cancel
        ("(0.25, 0.25, 0.25, 0.25)", 0),
    ],
)
def test_more_than_half(scoring: Any, text: str, expected: float) -> None:
    questions = rec("[0.25, 0.25, 0.75, 0.75]", (4, 2))
    assert scoring.scores("rec", questions, [(1, text)], "official") == [expected]


def test_empty_and_unparsable_boxes_are_counted_apart(scoring: Any) -> None:
    answers = [(1, ""), (1, " "), (1, "left"), (1, "(0.2, 0.2, 0.6, 0.6)")]
    score = scoring.score("rec", rec("[0.2, 0.2, 0.6, 0.6]"), answers, "official")
    assert (score.empty, score.unparsable, score.value) == (0.5, 0.25, 25)
