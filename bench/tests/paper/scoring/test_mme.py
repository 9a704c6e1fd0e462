"""MME: points of subtasks, two questions for each picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.scoring.mme import official_yes

END = " Please answer yes or no.\nAnswer the question using a single word or phrase."
PICTURES = ("existence/1.jpg", "existence/2.jpg", "OCR/1.jpg", "code_reasoning/1.png")


def questions(with_answers: bool = False) -> list[dict[str, Any]]:
    made = []
    for name in PICTURES:
        for i, answer in enumerate(("Yes", "No")):
            question = {
                "question_id": name,
                "category": name.split("/")[0],
                "text": f"Is {name} of kind {i}?{END}",
            }
            made.append(question | ({"answer": answer} if with_answers else {}))
    return made


def texts(scoring: Any, inner: str = "") -> Any:
    for name in PICTURES:
        category, file = name.split("/")
        path = (
            scoring.folder / "MME_Benchmark_release_version" / category / inner / f"{file[:-4]}.txt"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"Is {name} of kind 0? Please answer yes or no.\tYes\n"
            f"Is {name} of kind 1?  Please answer yes or no.\tNo\r\n"
        )
    return scoring.folder / "MME_Benchmark_release_version"


def answers(*said: str) -> list[tuple[str, str]]:
    names = [name for name in PICTURES for _ in range(2)]
    return list(zip(names, said, strict=True))


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("Yes", True), ("no.", False), ("Know", False), ("None", False), ("yesno", True),
        (" yes", True), ("  yes", None), ("I see no dog", None), ("It's no", None), ("", None),
        ("ano yes", False), ("NO", False),
    ],
)  # fmt: skip
def test_the_first_four_characters(text: str, yes: bool | None) -> None:
    assert official_yes(text) is yes


@pytest.mark.parametrize("protocol", ["official", "fixed"])
@pytest.mark.parametrize("source", ["own", "flat", "questions_answers_YN"])
def test_points(scoring: Any, protocol: str, source: str) -> None:
    if source != "own":
        texts(scoring, "" if source == "flat" else source)
    said = answers("Yes", "No", "Yes", "Yes", "yes.", "no.", "No", "No")
    score = scoring.score("mme", questions(source == "own"), said, protocol)
    # existence: 3 of 4, one of two pictures; OCR: all; code: 1 of 2, none
    assert score.value == pytest.approx((75 + 50) + 200)
    assert score.parts == {
        "cognition": 50,
        "existence": 125, "existence, acc": 75, "existence, acc+": 50,
        "OCR": 200, "OCR, acc": 100, "OCR, acc+": 100,
        "code_reasoning": 50, "code_reasoning, acc": 50, "code_reasoning, acc+": 0,
    }  # fmt: skip
    assert score.ids == PICTURES[:3]
    assert score.chance == 150


def test_a_perfect_model_has_no_interval(scoring: Any) -> None:
    score = scoring.score("mme", questions(True), answers(*["Yes", "No"] * 4), "fixed")
    assert score.interval() == (400, 400)
    drawn = score.resampled(np.array([[1, 1, 0], [0, 0, 3]]))
    assert drawn.tolist() == [400, 400]  # a subtask that is not drawn counts as the others


def test_where_the_protocols_differ(scoring: Any) -> None:
    said = answers("  yes", "I see no dog", "Yes", "know", *["Yes", "No"] * 2)
    official = scoring.score("mme", questions(True), said, "official")
    fixed = scoring.score("mme", questions(True), said, "fixed")
    assert official.parts["existence"] == 50 + 50
    assert official.unparsable == 2 / 6
    assert fixed.parts["existence"] == 75 + 50
    assert fixed.unparsable == 1 / 6


def test_an_answer_is_missing(scoring: Any) -> None:
    said = answers(*["Yes", "No"] * 4)[:-1]
    for protocol in "official", "fixed":
        with pytest.raises(MergeError, match="1 of 8 questions have no answer: 'code_reasoning"):
            scoring.score("mme", questions(True), said, protocol)
    score = scoring.score("mme", questions(True), said, "fixed", missing="wrong")
    assert score.parts["cognition"] == 50


def test_files_that_do_not_match(scoring: Any) -> None:
    said = answers(*["Yes", "No"] * 4)
    folder = texts(scoring)
    for content, message in (
        ("Is it?\tYes\n", "has no answer there"),
        ("Is it? Yes\n", "no question and answer"),
        ("Is existence/1.jpg of kind 0?\tPerhaps\nIs existence/1.jpg of kind 1?\tNo", "'Perhaps'"),
    ):
        (folder / "existence" / "1.txt").write_text(content)
        with pytest.raises(MergeError, match=message) as caught:
            scoring.score("mme", questions(), said, "fixed")
        assert "1.txt" in caught.value.where
    (folder / "existence" / "1.txt").unlink()
    with pytest.raises(MergeError, match="cannot read the file"):
        scoring.score("mme", questions(), said, "fixed")
    with pytest.raises(MergeError, match="1 questions about 'code_reasoning"):
        scoring.score("mme", questions(True)[:-1], said[:-1], "fixed")
    strange = [{**q, "category": "existense"} for q in questions(True)]
    with pytest.raises(MergeError, match="unknown subtask 'existense'") as caught:
        scoring.score("mme", strange, said, "fixed")
    assert caught.value.hint == "did you mean existence?"
