"""POPE: is an object in the image, yes or no; a third of the questions in each category.

    questions     {"question_id", "image", "text", "category": "adversarial"}
    references    a folder with coco_pope_adversarial.json, …popular.json and …random.json: a line
                  {"question_id", "image", "text", "label": "yes"} for each, in order;
                  or a label in every question

The value is the mean over the categories of F1, as LLaVA reports it; accuracy, precision, recall
and the share of answers that are yes are in the parts, of each category.

Source: Li et al., arXiv:2305.10355, whose objects that are absent are drawn at random ("random"),
from the most frequent ones ("popular") or from those that occur most with the objects of the image
("adversarial"); llava/eval/eval_pope.py of haotian-liu/LLaVA.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustmerge.errors import MergeError, shown

from ..data.questions import Id, Question, text_of
from ..data.records import JsonRecord, read_records
from ..score import Protocol, Score
from .inputs import ScoringInput
from .matching import match_answers, match_by_id
from .sample_scores import right_or_wrong, score_from_rows


@dataclass(frozen=True)
class YesNoAnswer:
    """One answer with the right one.

    Attributes:
        yes: The answer as the rule reads it; None where it is neither yes nor no.
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
    """Take an answer for no if no, No or not is a word of its first sentence, and else for yes.

    Answers and labels of a category are paired in the order of their files.
    """
    labels = _labels(inputs)
    pairs: dict[str, list[tuple[Id, str]]] = {}
    for question, prediction in match_by_id(inputs):
        pairs.setdefault(category_of(question), []).append((prediction.id, prediction.text))
    answers = [
        YesNoAnswer(name, category, text, official_yes(text), right)
        for category, texts in sorted(pairs.items())
        for (name, text), right in zip(texts, labels[category], strict=False)
    ]
    return _score(inputs, "official", answers)


def official_yes(text: str) -> bool:
    """Return whether the script takes an answer for yes, as it takes an empty one."""
    return not {"No", "not", "no"} & set(text.split(".")[0].replace(",", "").split(" "))


def fixed(inputs: ScoringInput) -> Score:
    """Take the first word if it is yes or no, else the only one of the two; neither is wrong."""
    labels = {category: iter(right) for category, right in _labels(inputs).items()}
    answers = []
    for question, text in match_answers(inputs):
        category = category_of(question)
        right = next(labels[category])
        answers.append(YesNoAnswer(question.id, category, text, read_yes_or_no(text), right))
    return _score(inputs, "fixed", answers)


def read_yes_or_no(text: str) -> bool | None:
    """Return whether an answer is yes or no, None where it is neither.

    >>> [read_yes_or_no(x) for x in ("Yes, no doubt", "there is no dog", "a dog")]
    [True, False, None]
    """
    words = re.findall(r"[a-z]+", text.lower())
    answers = set(words[:1]) & {"yes", "no"} or set(words) & {"yes", "no"}
    return answers == {"yes"} if len(answers) == 1 else None


def category_of(question: Question) -> str:
    """Return the question's category."""
    return text_of(question.record, "category")


def is_yes(label: str, where: str) -> bool:
    """Return whether a right answer is yes rather than no."""
    answer = label.strip().lower()
    if answer in ("yes", "no"):
        return answer == "yes"
    raise MergeError(
        f"the right answer is {shown(label)}", where=where, hint="it is either yes or no"
    )


def _labels(inputs: ScoringInput) -> dict[str, list[bool]]:
    """Return whether yes is right, of every category's questions in their order."""
    by_category: dict[str, list[Question]] = {}
    for question in inputs.questions:
        by_category.setdefault(category_of(question), []).append(question)
    labels = {}
    for category, questions in by_category.items():
        if any("label" in question.content for question in questions):
            labels[category] = [is_yes(text_of(q.record, "label"), q.where) for q in questions]
        else:
            path = inputs.required_references() / f"coco_pope_{category}.json"
            labels[category] = _check_labels(read_records(path), questions, str(path))
    return labels


def _check_labels(
    labels: Sequence[JsonRecord], questions: Sequence[Question], path: str
) -> list[bool]:
    """Return the labels of a file, which must be of these questions."""
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


def _score(inputs: ScoringInput, protocol: Protocol, answers: Sequence[YesNoAnswer]) -> Score:
    categories = sorted({answer.category for answer in answers})
    rows = np.zeros((len(answers), 3 * len(categories)))
    for row, answer in zip(rows, answers, strict=True):
        first = 3 * categories.index(answer.category)
        row[first : first + 3] = answer.counted
    samples = [right_or_wrong(a.id, a.text, a.yes == a.right, a.yes is not None) for a in answers]
    parts: dict[str, float] = {}
    chance = []
    for category in categories:
        of_category = [answer for answer in answers if answer.category == category]
        parts |= {f"{category}, {name}": value for name, value in _figures(of_category).items()}
        share = sum(answer.right for answer in of_category) / len(of_category)
        # A coin finds half of what is present, with a precision of its share.
        chance.append(100 * share / (share + 0.5))
    return score_from_rows(
        inputs, protocol, "f1", samples, rows, parts=parts, chance=sum(chance) / max(1, len(chance))
    )


def _figures(answers: Sequence[YesNoAnswer]) -> Mapping[str, float]:
    hits, false, lost = (sum(column) for column in zip(*(a.counted for a in answers), strict=True))
    return {
        "F1": _percent(2 * hits, 2 * hits + false + lost),
        "accuracy": _percent(sum(a.yes == a.right for a in answers), len(answers)),
        "precision": _percent(hits, hits + false),
        "recall": _percent(hits, hits + lost),
        "yes": _percent(sum(a.yes is True for a in answers), len(answers)),
    }


def _percent(part: int | float, whole: int | float) -> float:
    return 100 * part / whole if whole else 0.0
