"""POPE: yes or no, three categories."""

from __future__ import annotations

from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.scoring.pope import official_yes, read_yes_or_no

CATEGORIES = ("adversarial", "popular", "random")
END = "\nAnswer the question using a single word or phrase."


def questions(per: int = 4, labelled: bool = False) -> list[dict[str, Any]]:
    """Every other one is to be answered with yes, the first among them."""
    made = []
    for category in CATEGORIES:
        for i in range(per):
            more = {"label": "no" if i % 2 else "yes"} if labelled else {}
            text = f"Is there a {category} thing {i}?"
            made.append(
                {"question_id": len(made), "category": category, "text": text + END, **more}
            )
    return made


def labels(scoring: Any, per: int = 4, **changes: Any) -> Any:
    for category in CATEGORIES:
        lines = [
            {"question_id": i + 1, "text": f"Is there a {category} thing {i}?", "label": label}
            for i, label in enumerate(["yes", "no"] * (per // 2))
        ]
        scoring.lines(f"coco/coco_pope_{category}.json", changes.get(category, lines))
    return scoring.folder / "coco"


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [
        ("Yes", True, True), ("No", False, False), ("yes", True, True), ("no.", False, False),
        ("No, there is not.", False, False), ("Yes, there is no doubt", False, True),
        ("NO", True, False), ("No, none", False, False), ("", True, None),
        ("None", True, None), ("a dog", True, None),
        ("There is not", False, None), ("Yes. No.", True, True), ("no\n", True, False),
        ("I see no dog", False, False), ("Yes and no", False, True), ("Not at all", True, None),
    ],
)  # fmt: skip
def test_yes_or_no(text: str, official: bool, fixed: bool | None) -> None:
    assert official_yes(text) == official
    assert read_yes_or_no(text) is fixed


@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_the_mean_of_f1_over_categories(scoring: Any, protocol: str) -> None:
    """adversarial: all right; popular: always yes; random: always no."""
    said = ["yes", "no", "yes", "no", *["yes"] * 4, *["no"] * 4]
    answers = list(enumerate(said))
    score = scoring.score("pope", questions(), answers, protocol, labels(scoring))
    always_yes = 100 * 2 * 2 / (2 * 2 + 2)
    assert score.value == pytest.approx((100 + always_yes + 0) / 3)
    assert score.n == 12
    expected = {
        "adversarial": (100, 100, 100, 100, 50),
        "popular": (always_yes, 50, 50, 100, 100),
        "random": (0, 50, 0, 0, 0),
    }
    for category, values in expected.items():
        names = ("F1", "accuracy", "precision", "recall", "yes")
        found = [score.parts[f"{category}, {name}"] for name in names]
        assert found == pytest.approx(values)
    assert score.chance == pytest.approx(50)
    own = scoring.score("pope", questions(labelled=True), answers, protocol)
    assert (own.value, own.parts) == (score.value, score.parts)


def test_an_empty_answer_is_yes_or_wrong(scoring: Any) -> None:
    answers = [(i, "") for i in range(12)]
    official = scoring.score("pope", questions(), answers, "official", labels(scoring))
    assert official.value == pytest.approx(200 / 3)
    fixed = scoring.score("pope", questions(), answers, "fixed", labels(scoring))
    assert (fixed.value, fixed.empty) == (0, 1)
    assert fixed.parts["random, accuracy"] == fixed.parts["random, yes"] == 0
    blunt = scoring.score(
        "pope", questions(), [(i, "dog") for i in range(12)], "fixed", labels(scoring)
    )
    assert (blunt.unparsable, blunt.value) == (1, 0)
    # neither is the wrong one: a false alarm where no is right
    half = [(i, "dog" if i % 2 else "yes") for i in range(12)]
    score = scoring.score("pope", questions(), half, "fixed", labels(scoring))
    assert score.value == pytest.approx(200 / 3)


def test_a_coin_among_many_yes(scoring: Any) -> None:
    some = [q for q in questions(labelled=True) if q["question_id"] % 4 != 1]
    answers = [(q["question_id"], "yes") for q in some]
    score = scoring.score("pope", some, answers, "fixed")
    # two of three are yes: precision 2/3, recall 1/2
    assert score.chance == pytest.approx(100 * 2 * (2 / 3 * 1 / 2) / (2 / 3 + 1 / 2))


def test_official_pairs_labels_by_their_order(scoring: Any) -> None:
    said = ["yes", "no", "yes", "no"] * 3
    answers = list(enumerate(said))
    later = [answers[1], answers[0], *answers[2:]]
    references = labels(scoring)
    assert scoring.score("pope", questions(), later, "fixed", references).value == 100
    assert scoring.score("pope", questions(), later, "official", references).value < 100
    # without its first answer, each is judged by the label of the one before
    cut = scoring.score("pope", questions(), answers[1:], "official", references)
    assert (cut.n, cut.parts["adversarial, accuracy"]) == (11, 0)
    with pytest.raises(MergeError, match="1 of 12 questions have no answer"):
        scoring.score("pope", questions(), answers[1:], "fixed", references)


@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_labels_of_other_questions(scoring: Any, protocol: str) -> None:
    answers = [(i, "yes") for i in range(12)]
    line = {"text": "Is there a popular thing 0?", "label": "yes"}
    for lines, message in (
        ([line] * 3, "3 labels for 4 questions"),
        ([line] * 4, "is not what question 5 asks"),
        ([{**line, "label": "maybe"}] * 4, "is not what question"),
        ([{"label": "yes"}] * 4, "no text"),
    ):
        with pytest.raises(MergeError, match=message):
            scoring.score("pope", questions(), answers, protocol, labels(scoring, popular=lines))
    wrong = [{**q, "label": "maybe"} for q in questions()]
    with pytest.raises(MergeError, match="the right answer is 'maybe'"):
        scoring.score("pope", wrong, answers, protocol)
    with pytest.raises(MergeError, match="no category"):
        scoring.score("pope", [{"question_id": 0, "label": "yes"}], answers[:1], protocol)
    (scoring.folder / "coco" / "coco_pope_random.json").unlink()
    with pytest.raises(MergeError, match="cannot read the file") as caught:
        scoring.score("pope", questions(), answers, protocol, labels(scoring).parent / "none")
    assert "coco_pope_adversarial.json" in caught.value.where


def test_where_labels_are_looked_for(scoring: Any) -> None:
    answers = [(i, "yes") for i in range(12)]
    with pytest.raises(MergeError, match="not in its questions") as caught:
        scoring.score("pope", questions(), answers, "fixed")
    assert "no coco" in caught.value.where
    labels(scoring)
    assert scoring.score("pope", questions(), answers, "fixed").n == 12
