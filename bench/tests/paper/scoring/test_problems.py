"""ScienceQA, by the script and as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.scoring.problems import official_letter

PROBLEMS = {
    "1": {"choices": ["cat", "dog"], "answer": 1},
    "2": {"choices": ["a", "b", "c", "d", "e"], "answer": 4},
    "3": {"choices": ["x", "y", "z"], "answer": 0},
    "9": {"choices": ["x", "y"], "answer": 0},  # of another split
}
QUESTIONS = [
    {"question_id": "1", "image": "1.png", "answer": "B"},
    {"question_id": "2", "answer": "E"},
    {"question_id": "3", "image": "3.png", "answer": "A"},
]


@pytest.fixture
def scoring_with_problems(scoring: Any) -> Any:
    scoring.write("problems.json", PROBLEMS)
    scoring.write("pid_splits.json", {"test": ["3", "1", "2", "1"], "val": ["9"]})
    return scoring


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"), ("E", "E"), ("F", ""), ("b", ""), ("B.", ""), ("B. ", "B"), ("B. a dog", "B"),
        ("B) a dog", ""), ("B.a dog", ""), ("F. a dog", ""), ("The answer is B.", "B"),
        ("The answer is B!", "B"),
        ("The answer is B", ""), ("So: The answer is Z. Yes", "Z"), ("the answer is B.", ""),
        ("The answer is A. The answer is B.", ""), ("The answer is B.The answer is B.", ""),
        ("The answer is B\n", ""), ("", ""), ("AB", ""), (" B", ""),
    ],
)  # fmt: skip
def test_the_letter_that_the_script_finds(text: str, letter: str) -> None:
    assert official_letter(text) == letter


def test_all_test_problems_count_and_the_last_answer(scoring_with_problems: Any) -> None:
    answers = [("1", "A"), ("1", "B"), ("9", "A"), ("2", "F")]
    score = scoring_with_problems.score("scienceqa", QUESTIONS, answers, "official")
    assert score.ids == ("3", "1", "2")
    assert score.rows[:, 0].tolist() == [0, 100, 0]
    assert score.empty == pytest.approx(1 / 3)
    assert score.unparsable == pytest.approx(1 / 3)
    assert score.chance == pytest.approx(100 * (1 / 3 + 1 / 2 + 1 / 5) / 3)


def test_a_letter_beyond_the_options_is_wrong(scoring_with_problems: Any) -> None:
    answers = [("1", "The answer is C."), ("2", "The answer is F."), ("3", "A")]
    score = scoring_with_problems.score("scienceqa", QUESTIONS, answers, "official")
    assert score.rows[:, 0].tolist() == [100, 0, 0]
    # the fourth of two options must not count as the last
    scoring_with_problems.write("problems.json", PROBLEMS | {"1": {"choices": ["x"], "answer": 0}})
    assert scoring_with_problems.scores("scienceqa", QUESTIONS, [("1", "B")], "official") == [
        0,
        0,
        0,
    ]


def test_ids_are_text(scoring_with_problems: Any) -> None:
    assert scoring_with_problems.score("scienceqa", QUESTIONS, [(1, "B")], "official").value == 0
    score = scoring_with_problems.score(
        "scienceqa", QUESTIONS, [(1, "B"), (2, "E"), (3, "a")], "fixed"
    )
    assert score.value == 100


def test_pictures_are_told_by_the_prompt_and_by_the_question(scoring_with_problems: Any) -> None:
    answers = [
        {"question_id": "1", "text": "B", "prompt": "<image>\nWhat?"},
        {"question_id": "2", "text": "E", "prompt": "What?"},
        {"question_id": "3", "text": "B", "prompt": "<image>\nWhat?"},
    ]
    official = scoring_with_problems.score("scienceqa", QUESTIONS, answers, "official")
    assert official.parts == {"picture": 50}
    fixed = scoring_with_problems.score("scienceqa", QUESTIONS, answers, "fixed")
    assert fixed.parts == {"picture": 50, "no picture": 100}
    assert fixed.chance == official.chance
    bare = [{**answer, "prompt": ""} for answer in answers]
    assert scoring_with_problems.score("scienceqa", QUESTIONS, bare, "official").parts == {}


def test_letters_however_they_are_written(scoring_with_problems: Any) -> None:
    answers = [("1", "(B)"), ("2", "The answer is E"), ("3", "b")]
    score = scoring_with_problems.score("scienceqa", QUESTIONS, answers, "fixed")
    assert score.rows[:, 0].tolist() == [100, 100, 0]
    assert scoring_with_problems.score("scienceqa", QUESTIONS, answers, "official").value == 0


def test_without_problems_the_questions_say(scoring: Any) -> None:
    answers = [("1", "B"), ("2", "E"), ("3", "A")]
    assert scoring.score("scienceqa", QUESTIONS, answers, "fixed").value == 100
    with pytest.raises(MergeError, match="not in its questions") as caught:
        scoring.score("scienceqa", QUESTIONS, answers, "official")
    assert "no problems.json" in caught.value.where
    with pytest.raises(MergeError, match="no answer"):
        scoring.score("scienceqa", [{"question_id": "1"}], answers[:1], "fixed")
    with pytest.raises(MergeError, match="not a letter"):
        scoring.score("scienceqa", [{"question_id": "1", "answer": "cat"}], answers[:1], "fixed")


def test_without_answers_the_problems_say(scoring_with_problems: Any) -> None:
    questions = [{"question_id": "1"}]
    assert scoring_with_problems.score("scienceqa", questions, [("1", "B")], "fixed").value == 100
    with pytest.raises(MergeError, match="'1' is A, or B by"):
        scoring_with_problems.score(
            "scienceqa", [{"question_id": "1", "answer": "a"}], [("1", "B")], "fixed"
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("problems.json", {**PROBLEMS, "2": {"choices": ["a"], "answer": 1}}, "is not a problem"),
        ("problems.json", {**PROBLEMS, "2": 7}, "is not a problem"),
        ("problems.json", [], "not an object"),
        ("problems.json", {"1": PROBLEMS["1"]}, "2 test problems are not in problems.json: 3, 2"),
        ("pid_splits.json", {"val": []}, "the test split is None"),
        ("pid_splits.json", {"test": [1]}, "the test split is"),
    ],
)
def test_references_that_are_none(
    scoring_with_problems: Any, name: str, content: Any, message: str
) -> None:
    scoring_with_problems.write(name, content)
    with pytest.raises(MergeError, match=message):
        scoring_with_problems.score("scienceqa", QUESTIONS, [("1", "B")], "official")


def test_no_splits(scoring_with_problems: Any) -> None:
    (scoring_with_problems.folder / "pid_splits.json").unlink()
    with pytest.raises(MergeError, match="cannot read the file") as caught:
        scoring_with_problems.score("scienceqa", QUESTIONS, [("1", "B")], "official")
    assert "pid_splits.json" in caught.value.where
