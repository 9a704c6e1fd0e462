"""No answer breaks a rule, and an empty one is never right by the right rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from robustmerge.errors import MergeError
from robustmerge_bench.paper.data.read import read_questions
from robustmerge_bench.paper.scoring import boxes, chance, fixed, mmbench, mme, official, pope
from robustmerge_bench.paper.scoring.problems import official_letter

CHOICES = {"A": "cat", "B": "dog"}
RULES: list[Callable[[str], Any]] = [
    official.cut_box, official_letter, pope.official_yes, mme.official_yes, pope.read_yes_or_no,
    boxes.find_box, fixed.plain, fixed.plain_class, chance.count_options,
    lambda text: fixed.find_classes(text, {"cat", "bow tie"}),
    lambda text: mmbench.fixed_option(text, CHOICES),
    lambda text: mmbench.official_option(text, CHOICES),
]  # fmt: skip


@given(st.text() | st.text("[]()0123456789.,-+$ eE ABCyesno\n", max_size=40))
@example("9" * 500)
@example("[" + "9" * 500 + ",1,2,3]")
@example("\ud800 [1, 2, 3, 4]")
@example("٣")
def test_no_text_breaks_a_rule(text: str) -> None:
    for rule in RULES:
        rule(text)


@pytest.mark.parametrize("text", ["", " ", "\n", ".", "?!"])
@pytest.mark.parametrize("task", ["imagenet", "vqav2", "iconqa", "ocrvqa", "aokvqa"])
def test_nothing_is_never_right(scoring: Any, task: str, text: str) -> None:
    for answer in ("A", "the") if task == "imagenet" else ("A", "the", "", " ", "."):
        questions = [{"question_id": 1, "answer": answer}]
        assert scoring.scores(task, questions, [(1, text)], "fixed") == [0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(10, 50)] * 2), min_size=1))
def test_perfect_boxes_are_right_by_the_right_rule(scoring: Any, corners: list[Any]) -> None:
    """The official rule cuts their last digit; what is left is never more."""
    texts = [f"[{x / 100:.2f}, {y / 100:.2f}, {(x + w) / 100:.2f}, {(y + h) / 100:.2f}]"
             for x, y, w, h in corners]  # fmt: skip
    questions = [
        {"question_id": i, "answer_bbox": text, "size": [640, 480]} for i, text in enumerate(texts)
    ]
    answers = list(enumerate(texts))
    assert scoring.score("rec", questions, answers, "fixed").value == 100
    for i, expected in enumerate(scoring.scores("rec", questions, answers, "official")):
        cut = official.cut_box(texts[i])
        assert cut is None or cut[:3] == pytest.approx(boxes.right_box(read(scoring, i))[:3])
        assert expected in (0, 100)


def read(scoring: Any, i: int) -> Any:
    return read_questions(scoring.folder / "questions.json")[i]


@pytest.mark.parametrize("index", ["inf", "nan", "", "x"])
def test_an_index_is_a_number(tmp_path: Path, index: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(f"index\tquestion\tA\tB\n{index}\tx\ta\tb\n")
    with pytest.raises(MergeError, match="not a number"):
        read_questions(path)
