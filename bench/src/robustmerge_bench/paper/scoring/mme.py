"""MME: two questions about every image, of which one is to be answered with yes, the other no.

    questions     {"question_id": "code_reasoning/0020.png", "text", "category"}, two with each id
    references    the folder MME_Benchmark_release_version, with a text file for each image:
                  category/[questions_answers_YN/]0020.txt, of lines "question<tab>Yes";
                  or an answer in every question

A subtask has up to 200 points: the percentage of questions answered right, and that of images with
both questions right. The value is the points of the ten subtasks of perception, as in published
tables; those of the four of cognition, and of every subtask, are in the parts.

Source: Fu et al., arXiv:2306.13394, and its evaluation tool; scripts of haotian-liu/LLaVA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from robustmerge.errors import MergeError, reading, shown, unknown

from ..data.questions import Id, Question
from ..score import Protocol, Score
from .inputs import ScoringInput, right_answer
from .matching import match_answers
from .pope import category_of, is_yes, read_yes_or_no
from .sample_scores import SampleScore, right_or_wrong, score_from_rows

PERCEPTION: tuple[str, ...] = ("existence", "count", "position", "color", "posters", "celebrity")
PERCEPTION += ("scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_PAIR = 2
_INSTRUCTIONS = (
    "Answer the question using a single word or phrase.",
    "Please answer yes or no.",
)


@dataclass(frozen=True)
class QuestionPair:
    """Both questions about one image.

    Attributes:
        category: The subtask.
        samples: The scores of both answers.
    """

    id: Id
    category: str
    samples: tuple[SampleScore, ...]

    @property
    def points(self) -> float:
        """0 to 200: the mean, and 100 more if both are right."""
        scores = [sample.score for sample in self.samples]
        return sum(scores) / len(scores) + min(scores)


def official(inputs: ScoringInput) -> Score:
    """Look for yes or no in the first four characters, yes first; anything else is wrong."""
    return _score(inputs, "official", official_yes)


def official_yes(text: str) -> bool | None:
    """Return yes or no as the evaluation tool finds it: "Know" is no, "I see no dog" neither.

    >>> [official_yes(x) for x in ("Yes.", "know", "I see no dog")]
    [True, False, None]
    """
    start = text.lower()[:4]
    return True if "yes" in start else False if "no" in start else None


def fixed(inputs: ScoringInput) -> Score:
    """Take the first word if it is yes or no, else the only one of the two; neither is wrong."""
    return _score(inputs, "fixed", read_yes_or_no)


def _score(inputs: ScoringInput, protocol: Protocol, yes: Callable[[str], bool | None]) -> Score:
    pairs = _pairs(inputs, yes)
    counted = [pair for pair in pairs if pair.category in PERCEPTION]
    names = [name for name in PERCEPTION if any(p.category == name for p in counted)]
    rows = np.zeros((len(counted), 2 * len(names)))  # points and count of every subtask
    for row, pair in zip(rows, counted, strict=True):
        first = 2 * names.index(pair.category)
        row[first : first + 2] = pair.points, 1
    return score_from_rows(
        inputs,
        protocol,
        "points",
        [sample for pair in counted for sample in pair.samples],
        rows,
        ids=[pair.id for pair in counted],
        parts=_parts(pairs),
        chance=75.0 * len(names),  # 50 of questions and 25 of images
    )


def _pairs(inputs: ScoringInput, yes: Callable[[str], bool | None]) -> list[QuestionPair]:
    """Return the scores of both answers about every image."""
    truth = _truth(inputs)
    samples: dict[Id, list[SampleScore]] = {}
    categories: dict[Id, str] = {}
    for (question, text), right in zip(match_answers(inputs), truth, strict=True):
        answer = yes(text)
        sample = right_or_wrong(question.id, text, answer == right, answer is not None)
        samples.setdefault(question.id, []).append(sample)
        categories[question.id] = category_of(question)
    return [_pair(inputs, name, categories[name], both) for name, both in samples.items()]


def _pair(
    inputs: ScoringInput, name: Id, category: str, samples: Sequence[SampleScore]
) -> QuestionPair:
    if category not in PERCEPTION + COGNITION:
        raise unknown("subtask", category, PERCEPTION + COGNITION, where=f"{inputs.file}, {name}")
    if len(samples) != _PAIR:
        raise MergeError(
            f"{len(samples)} questions about {shown(name)}",
            where=str(inputs.file),
            hint="MME asks two about every image, with its name as their id",
        )
    return QuestionPair(name, category, tuple(samples))


def _parts(pairs: Sequence[QuestionPair]) -> dict[str, float]:
    """Return the points of cognition, and of every subtask, with both of its accuracies."""
    parts: dict[str, float] = {}
    cognition = 0.0
    for name in PERCEPTION + COGNITION:
        of_subtask = [pair for pair in pairs if pair.category == name]
        if not of_subtask:
            continue
        points = sum(pair.points for pair in of_subtask) / len(of_subtask)
        both = 100 * sum(pair.points == 200 for pair in of_subtask) / len(of_subtask)
        parts |= {name: points, f"{name}, acc": points - both, f"{name}, acc+": both}
        cognition += points if name in COGNITION else 0
    return {"cognition": cognition, **parts}


def _truth(inputs: ScoringInput) -> list[bool]:
    """Return whether yes is right, of every question."""
    if all("answer" in question.content for question in inputs.questions):
        return [is_yes(right_answer(question), question.where) for question in inputs.questions]
    folder = inputs.required_references()
    read = cache(_read_answers)
    truth = []
    for question in inputs.questions:
        path, plain = _reference_file(folder, question), _without_instructions(question.text)
        answers = read(path)
        if plain not in answers:
            raise MergeError(
                f"{shown(plain)} has no answer there",
                where=f"{question.where}\n{path}",
                hint="are these the references of these questions?",
            )
        truth.append(is_yes(answers[plain], str(path)))
    return truth


def _reference_file(folder: Path, question: Question) -> Path:
    """Return the text file of an image."""
    name = f"{Path(str(question.id)).stem}.txt"
    parent = folder / category_of(question)
    nested = parent / "questions_answers_YN" / name
    return nested if nested.is_file() else parent / name


def _read_answers(path: Path) -> dict[str, str]:
    with reading(path):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    fields = [line.rstrip("\r").split("\t") for line in lines]
    if any(len(line) != 2 for line in fields):
        raise MergeError(
            "a line has no question and answer",
            where=str(path),
            hint="a tab separates them",
        )
    return {_without_instructions(question): answer for question, answer in fields}


def _without_instructions(text: str) -> str:
    for instruction in _INSTRUCTIONS:
        text = text.replace(instruction, " ")
    return " ".join(text.split())
