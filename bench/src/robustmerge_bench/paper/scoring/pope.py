"""POPE: is there a thing in the picture, yes or no; a third of the questions in each category.

    questions     {"question_id", "image", "text", "category": "adversarial"}
    references    a folder with coco_pope_adversarial.json, …popular.json and …random.json: a line
                  {"question_id", "image", "text", "label": "yes"} for each, in order;
                  or a label in every question

The value is the mean over the categories of F1, as LLaVA reports it; accuracy, precision, recall
and the share of answers that are yes are in the parts, of each category.

Source: Li et al., arXiv:2305.10355; llava/eval/eval_pope.py of haotian-liu/LLaVA.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustmerge.errors import MergeError, shown

from ..data.questions import Id, Question, text_of
from ..data.records import JsonRecord, records
from ..score import Protocol, Score
from .inputs import ScoringInput, right_answer
from .matching import match_answers, match_by_id
from .sample_scores import SampleScore, full_or_none, score_from_rows


@dataclass(frozen=True)
class YesNoAnswer:
    """One answer beside the right one.

    Attributes:
        id: The question's.
        category: The question's.
        text: The answer.
        yes: What it was taken for; None where it is neither.
        right: Whether yes is right.
    """

    id: Id
    category: str
    text: str
    yes: bool | None
    right: bool

    @property
    def counted(self) -> tuple[float, float, float]:
        """Whether it is a true positive, a false positive, a false negative."""
        yes = (not self.right) if self.yes is None else self.yes  # neither: the wrong one
        return float(yes and self.right), float(yes > self.right), float(yes < self.right)


def official(inputs: ScoringInput) -> Score:
    """An answer is no if no, No or not is a word of its first sentence, and else yes.

    Answers and labels of a category are paired in the order of their files.
    """
    labels = _labels(inputs)
    pairs: dict[str, list[tuple[Id, str]]] = {}
    for question, prediction in match_by_id(inputs):
        pairs.setdefault(category_of(question), []).append((prediction.id, prediction.text))
    said = [
        YesNoAnswer(name, category, text, official_yes(text), right)
        for category, texts in sorted(pairs.items())
        for (name, text), right in zip(texts, labels[category], strict=False)
    ]
    return _scored(inputs, "official", said)


def official_yes(text: str) -> bool:
    """Whether the script takes an answer for yes, as it takes an empty one."""
    return not {"No", "not", "no"} & set(text.split(".")[0].replace(",", "").split(" "))


def fixed(inputs: ScoringInput) -> Score:
    """The first word if it is yes or no, else the only one of the two; neither is wrong."""
    labels = _labels(inputs)
    places = {category: iter(right) for category, right in labels.items()}
    said = []
    for question, text in match_answers(inputs):
        category = category_of(question)
        said.append(YesNoAnswer(question.id, category, text, yes_in(text), next(places[category])))
    return _scored(inputs, "fixed", said)


def yes_in(text: str) -> bool | None:
    """Whether an answer is yes or no, None where it is neither.

    >>> [yes_in(x) for x in ("Yes, no doubt", "there is no dog", "a dog")]
    [True, False, None]
    """
    words = re.findall(r"[a-z]+", text.lower())
    found = set(words[:1]) & {"yes", "no"} or set(words) & {"yes", "no"}
    return found == {"yes"} if len(found) == 1 else None


def category_of(question: Question) -> str:
    """The question's category.

    Raises:
        MergeError: It has none.
    """
    return text_of(JsonRecord(question.where, question.content), "category")


def _labels(inputs: ScoringInput) -> dict[str, list[bool]]:
    """Whether yes is right, of every category's questions in their order.

    Raises:
        MergeError: It is not known, or the references are of other questions.
    """
    by_category: dict[str, list[Question]] = {}
    for question in inputs.questions:
        by_category.setdefault(category_of(question), []).append(question)
    labels = {}
    for category, questions in by_category.items():
        own = [question for question in questions if "label" in question.content]
        if own:
            labels[category] = [is_yes(right_answer(q, "label"), q.where) for q in questions]
        else:
            path = inputs.required_references() / f"coco_pope_{category}.json"
            labels[category] = _of_file(records(path), questions, str(path))
    return labels


def is_yes(label: str, where: str) -> bool:
    """Whether a right answer is yes.

    Raises:
        MergeError: It is neither yes nor no.
    """
    found = label.strip().lower()
    if found in ("yes", "no"):
        return found == "yes"
    raise MergeError(
        f"the right answer is {shown(label)}", where=where, hint="it is either yes or no"
    )


def _of_file(labels: Sequence[JsonRecord], questions: Sequence[Question], path: str) -> list[bool]:
    if len(labels) != len(questions):
        raise MergeError(
            f"{len(labels)} labels for {len(questions)} questions",
            where=path,
            hint="are these the labels of these questions?",
        )
    for label, question in zip(labels, questions, strict=True):
        if text_of(label, "text") not in question.text:
            raise MergeError(
                f"{shown(label.content['text'])} is not what question {shown(question.id)} asks",
                where=f"{label.where}\n{question.where}",
                hint="labels are in the order of the questions of their category",
            )
    return [is_yes(text_of(label, "label"), label.where) for label in labels]


def _scored(inputs: ScoringInput, protocol: Protocol, said: Sequence[YesNoAnswer]) -> Score:
    categories = sorted({one.category for one in said})
    rows = np.zeros((len(said), 3 * len(categories)))
    for row, one in zip(rows, said, strict=True):
        first = 3 * categories.index(one.category)
        row[first : first + 3] = one.counted
    samples = [
        SampleScore(one.id, full_or_none(one.yes == one.right), one.text, one.yes is not None)
        for one in said
    ]
    parts: dict[str, float] = {}
    for category in categories:
        of = [one for one in said if one.category == category]
        parts |= {f"{category}, {name}": value for name, value in _figures(of).items()}
    chance = [_coin([one.right for one in said if one.category == c]) for c in categories]
    return score_from_rows(
        inputs, protocol, "f1", samples, rows, parts=parts, chance=sum(chance) / max(1, len(chance))
    )


def _figures(said: Sequence[YesNoAnswer]) -> Mapping[str, float]:
    hits, false, lost = (sum(column) for column in zip(*(one.counted for one in said), strict=True))
    right = sum(one.yes == one.right for one in said)
    return {
        "F1": _percent(2 * hits, 2 * hits + false + lost),
        "accuracy": _percent(right, len(said)),
        "precision": _percent(hits, hits + false),
        "recall": _percent(hits, hits + lost),
        "yes": _percent(sum(one.yes is True for one in said), len(said)),
    }


def _percent(part: int | float, whole: int | float) -> float:
    return 100 * part / whole if whole else 0.0


def _coin(right: Sequence[bool]) -> float:
    """F1 of a coin: half of what is there is found, at the precision of its share."""
    share = sum(right) / len(right)
    return 100 * share / (share + 0.5)
