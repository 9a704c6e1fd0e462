"""What guessing gets."""

from __future__ import annotations

from typing import Any

import pytest

from robustmerge_bench.paper.scoring.chance import chance_among_options, count_options


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("What?\nA. a cat\nB. a dog\nC. A. Smith", 3), ("(A) cat (B) dog", 2), ("A: x B: y", 2),
        ("A. cat", 0), ("B. cat C. dog", 0), ("", 0), ("a. cat b. dog", 0), ("A.cat B.dog", 0),
        ("A. cat\nC. dog", 0), ("ABA. x", 0),
    ],
)  # fmt: skip
def test_options_in_a_prompt(text: str, count: int) -> None:
    assert count_options(text) == count


def test_chance_is_the_mean_over_questions(scoring: Any) -> None:
    two = {"question_id": 1, "answer": "A", "text": "x\nA. a\nB. b"}
    four = {"question_id": 2, "answer": "A", "text": "x\nA. a\nB. b\nC. c\nD. d"}
    none = {"question_id": 3, "answer": "A", "text": "x\nA. a"}
    answers = [(1, "A"), (2, "A"), (3, "A")]
    for protocol in "official", "fixed":
        assert scoring.score("aokvqa", [two, four], answers[:2], protocol).chance == 37.5
        assert scoring.score("aokvqa", [two, four, none], answers, protocol).chance is None
    assert chance_among_options([]) is None
