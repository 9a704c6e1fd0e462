"""The right rules: what counts, and which answer belongs to which question."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from robustmerge.errors import MergeError
from robustmerge_bench.paper.scoring.fixed import find_classes, plain


def one_answer(answer: str, **more: Any) -> list[dict[str, Any]]:
    return [{"question_id": 1, "answer": answer, **more}]


@pytest.mark.parametrize("task", ["iconqa", "tabmwp", "ocrvqa"])
@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("Red car.", "red  CAR", 100), ("", "red", 0), (" ", "red", 0), (".", ".", 0),
        ("red", "a red", 0), ("Unanswerable", "unanswerable", 100),
        ("1,000", "1000", 100), ("1000.0", "1,000", 100), ("$1,000.00", "1000", 100),
        (".5", "0.50", 100), ("-3", "-3.0", 100), ("+3", "3", 100), ("-3", "3", 0),
        ("1,00", "100", 0), ("10,000,000", "1e7", 0), ("3/4", "0.75", 0), ("5%", "5", 0),
        ("10", "1", 0), ("1.", "1", 100), ("9" * 400, "9" * 399 + "8", 0), ("-", "", 0),
    ],
)  # fmt: skip
def test_words_and_numbers(
    scoring: Any, task: str, text: str, answer: str, expected: float
) -> None:
    assert scoring.scores(task, one_answer(answer), [(1, text)], "fixed") == [expected]


@given(st.decimals(-10_000_000, 10_000_000, places=2))
def test_a_number_is_itself_however_it_is_written(number: Any) -> None:
    assert plain(f"{number:,}") == plain(f"{number:f}") == plain(f"{number:.3f}.")


@pytest.mark.parametrize(
    ("text", "expected", "unparsable"),
    [
        ("B", 100, 0), ("b.", 100, 0), ("(B)", 100, 0), ("B. a cat", 100, 0), ("A", 0, 0),
        ("The answer is B", 100, 0), ("cat", 0, 1), ("", 0, 0), ("A or B", 0, 1),
    ],
)  # fmt: skip
def test_letters(scoring: Any, text: str, expected: float, unparsable: float) -> None:
    score = scoring.score(
        "aokvqa", one_answer("B", text="What?\nA. dog\nB. cat"), [(1, text)], "fixed"
    )
    assert (score.value, score.unparsable, score.empty) == (expected, unparsable, not text)
    assert score.chance == 50


def test_a_small_letter_is_right_too(scoring: Any) -> None:
    assert scoring.scores("aokvqa", one_answer(" b "), [(1, "B")], "fixed") == [100]


def test_answers_that_are_no_letters_are_words(scoring: Any) -> None:
    assert scoring.scores("aokvqa", one_answer("cat"), [(1, "Cat.")], "fixed") == [100]
    assert scoring.scores("aokvqa", one_answer("cat"), [(1, "")], "fixed") == [0]


def test_people_who_answered(scoring: Any) -> None:
    ten = ["blue"] * 2 + ["red"] * 8
    assert scoring.scores("vqav2", one_answer("red", answers=ten), [(1, "Blue.")], "fixed") == [
        pytest.approx(60)
    ]
    records = [{"answer": text, "answer_id": i} for i, text in enumerate(ten)]
    assert scoring.scores(
        "vqav2", one_answer("red", answers=records), [(1, "the red")], "fixed"
    ) == [100]
    assert scoring.scores("vqav2", one_answer("two", answers=["3"]), [(1, "2")], "fixed") == [100]
    assert scoring.scores("vqav2", one_answer("two"), [(1, "a")], "fixed") == [
        0
    ]  # normalized: nothing
    assert scoring.scores("vqav2", one_answer("the"), [(1, "a")], "fixed") == [0]
    assert scoring.scores("vqav2", one_answer("A"), [(1, "a.")], "fixed") == [100]
    with pytest.raises(MergeError, match="answers is"):
        scoring.score("vqav2", one_answer("two", answers=[1, 2]), [(1, "2")], "fixed")


CLASSES = ["Tie", "Bow tie", "Hip", "Jack-o'-lantern", "Crane2", "Golden retriever"]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a hip", "Hip"), ("HIP.", "Hip"), ("a bow tie", "Bow tie"), ("tie", "Tie"),
        ("jack o lantern", "Jack-o'-lantern"), ("It is a crane.", "Crane2"), ("crane2", "Crane2"),
        ("golden-retriever", "Golden retriever"), ("golden_retriever", "Golden retriever"),
    ],
)  # fmt: skip
def test_the_class_is_named(scoring: Any, text: str, right: str) -> None:
    questions = [{"question_id": i, "answer": name} for i, name in enumerate(CLASSES)]
    answers = [(i, text) for i in range(len(CLASSES))]
    score = scoring.score("imagenet", questions, answers, "fixed")
    assert score.rows[:, 0].tolist() == [100 * (name == right) for name in CLASSES]
    assert score.chance == pytest.approx(100 / len(CLASSES))
    assert score.unparsable == 0


@pytest.mark.parametrize("text", ["ship", "", "h", "hip, tie", ", ".join(CLASSES), "dog", "hi p"])
def test_the_class_is_not_named(scoring: Any, text: str) -> None:
    questions = [{"question_id": i, "answer": name} for i, name in enumerate(CLASSES)]
    score = scoring.score("imagenet", questions, [(i, text) for i in range(len(CLASSES))], "fixed")
    assert score.value == 0


@pytest.mark.parametrize("answer", ["", " ", "_"])
def test_a_class_has_a_name(scoring: Any, answer: str) -> None:
    questions = [{"question_id": 0, "answer": "tub"}, {"question_id": 1, "answer": answer}]
    with pytest.raises(MergeError, match="names no class") as caught:
        scoring.score("imagenet", questions, [(0, "x"), (1, "y")], "fixed")
    assert "questions.json, record 2" in caught.value.where


def test_both_a_class_and_one_within_its_name() -> None:
    assert find_classes("a tie, no: a bow tie", {"tie", "bow tie"}) == {"tie", "bow tie"}


@pytest.mark.parametrize("task", ["iconqa", "vqav2", "imagenet", "aokvqa", "ocrvqa"])
def test_matched_by_id_whatever_its_type_and_place(scoring: Any, task: str) -> None:
    questions = [{"question_id": 1, "answer": "A"}, {"question_id": "2", "answer": "B"}]
    score = scoring.score(task, questions, [(2, "B"), ("1", "A")], "fixed")
    assert (score.value, score.ids) == (100, (1, "2"))


def test_ids_that_repeat_are_told_by_their_order(scoring: Any) -> None:
    questions = [{"question_id": 7, "answer": a} for a in ("cat", "dog", "fox")]
    questions.insert(1, {"question_id": 8, "answer": "cat"})
    answers = [(8, "cat"), (7, "cat"), (7, "dog"), (7, "cat")]
    assert scoring.scores("imagenet-r", questions, answers, "fixed") == [100, 100, 100, 0]
    with pytest.raises(MergeError, match="no question belongs to this answer, of id 7") as caught:
        scoring.score("imagenet-r", questions, [*answers, (7, "fox")], "fixed")
    assert "it has 3" in caught.value.hint
    with pytest.raises(MergeError, match="1 of 4 questions have no answer: 7"):
        scoring.score("imagenet-r", questions, answers[:3], "fixed")


def test_two_records_of_one_id(scoring: Any) -> None:
    questions = [{"question_id": "a", "answer": "x"}, {"question_id": "b", "answer": "y"}]
    answers = [("a", "x"), ("b", "y")]
    with pytest.raises(MergeError, match="two answers have the id 'a'") as caught:
        scoring.score("iconqa", questions, [*answers, ("a", "z")], "fixed")
    assert "line 1" in caught.value.where
    assert "line 3" in caught.value.where
    with pytest.raises(MergeError, match="two questions have the id 'b'"):
        scoring.score("iconqa", [*questions, questions[1]], answers, "fixed")


def test_a_truncated_run_is_refused_unless_allowed(scoring: Any) -> None:
    questions = [{"question_id": i, "answer": "x"} for i in range(5)]
    answers = [(0, "x"), (1, "x")]
    with pytest.raises(MergeError, match="3 of 5 questions have no answer: 2, 3, 4") as caught:
        scoring.score("iconqa", questions, answers, "fixed")
    assert "record 3" in caught.value.where
    assert "--missing wrong" in caught.value.hint
    score = scoring.score("iconqa", questions, answers, "fixed", missing="wrong")
    assert (score.n, score.value, score.empty) == (5, 40, 0.6)


def test_an_answer_to_no_question(scoring: Any) -> None:
    with pytest.raises(MergeError, match="of id 2") as caught:
        scoring.score("iconqa", one_answer("x"), [(1, "x"), (2, "x")], "fixed")
    assert "line 2" in caught.value.where
    assert "questions.json: 1 questions" in caught.value.where


def test_references_that_a_task_has_not(scoring: Any) -> None:
    with pytest.raises(MergeError, match="IconQA has no references"):
        scoring.score("iconqa", one_answer("x"), [(1, "x")], "fixed", scoring.folder / "refs.json")


@pytest.mark.parametrize("protocol", ["official", "fixed"])
@pytest.mark.parametrize("task", ["iconqa", "vqav2", "imagenet", "aokvqa", "ocrvqa"])
def test_questions_without_a_proper_answer(scoring: Any, task: str, protocol: str) -> None:
    for wrong, message in ({}, "no answer"), ({"answer": 3}, "answer is 3, not text"):
        with pytest.raises(MergeError, match=message) as caught:
            scoring.score(task, [{"question_id": 1, **wrong}], [(1, "x")], protocol)
        assert "questions.json, record 1" in caught.value.where
