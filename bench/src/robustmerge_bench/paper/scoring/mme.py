"""MME: two questions about every picture, of which one is to be answered with yes, the other no.

    questions     {"question_id": "code_reasoning/0020.png", "text", "category"}, two with each id
    references    the folder MME_Benchmark_release_version, with a text file for each picture:
                  category/[questions_answers_YN/]0020.txt, of lines "question<tab>Yes";
                  or an answer in every question

A subtask has up to 200 points: the percentage of questions answered right, and that of pictures of
which both were. The value is the points of the ten subtasks of perception, as published tables have
it; those of the four of cognition, and of every subtask, are in the parts.

Source: Fu et al., arXiv:2306.13394, and its evaluation tool; scripts of haotian-liu/LLaVA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustmerge.errors import MergeError, reading, shown, unknown

from ..data.questions import Id, Question
from ..score import Protocol, Score
from .inputs import ScoringInput, right_answer
from .matching import match_answers
from .pope import category_of, is_yes, yes_in
from .sample_scores import SampleScore, full_or_none, score_from_rows

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
_PAIR = 2
_ADDED = ("Answer the question using a single word or phrase.", "Please answer yes or no.")


@dataclass(frozen=True)
class QuestionPair:
    """Both questions about one picture.

    Attributes:
        id: Theirs.
        category: The subtask.
        samples: One for each.
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
    """Yes or no among the first four characters, yes first; anything else is wrong."""
    return _scored(inputs, "official", official_yes)


def official_yes(text: str) -> bool | None:
    """Yes or no as the evaluation tool finds it: "Know" is no, "I see no dog" neither.

    >>> [official_yes(x) for x in ("Yes.", "know", "I see no dog")]
    [True, False, None]
    """
    start = text.lower()[:4]
    return True if "yes" in start else False if "no" in start else None


def fixed(inputs: ScoringInput) -> Score:
    """The first word if it is yes or no, else the only one of the two; neither is wrong."""
    return _scored(inputs, "fixed", yes_in)


def _scored(inputs: ScoringInput, protocol: Protocol, yes: Callable[[str], bool | None]) -> Score:
    truth = _truth(inputs)
    pictures: dict[Id, list[SampleScore]] = {}
    categories: dict[Id, str] = {}
    for (question, text), right in zip(match_answers(inputs), truth, strict=True):
        found = yes(text)
        sample = SampleScore(question.id, full_or_none(found == right), text, found is not None)
        pictures.setdefault(question.id, []).append(sample)
        categories[question.id] = category_of(question)
    all_of = [
        _image_pair(inputs, name, categories[name], samples) for name, samples in pictures.items()
    ]
    counted = [picture for picture in all_of if picture.category in PERCEPTION]
    names = [name for name in PERCEPTION if any(p.category == name for p in counted)]
    rows = np.zeros((len(counted), 2 * len(names)))
    for row, picture in zip(rows, counted, strict=True):
        first = 2 * names.index(picture.category)
        row[first : first + 2] = picture.points, 1
    return score_from_rows(
        inputs,
        protocol,
        "points",
        [sample for picture in counted for sample in picture.samples],
        rows,
        ids=[picture.id for picture in counted],
        parts=_parts(all_of),
        chance=75.0 * len(names),  # 50 of questions and 25 of pictures
    )


def _image_pair(
    inputs: ScoringInput, name: Id, category: str, samples: Sequence[SampleScore]
) -> QuestionPair:
    if category not in PERCEPTION + COGNITION:
        raise unknown("subtask", category, PERCEPTION + COGNITION, where=f"{inputs.file}, {name}")
    if len(samples) != _PAIR:
        raise MergeError(
            f"{len(samples)} questions about {shown(name)}",
            where=str(inputs.file),
            hint="MME asks two about every picture, with its name as their id",
        )
    return QuestionPair(name, category, tuple(samples))


def _parts(pictures: Sequence[QuestionPair]) -> dict[str, float]:
    """Points of cognition, and of every subtask, with its accuracy and that of pictures."""
    parts: dict[str, float] = {}
    cognition = 0.0
    for name in PERCEPTION + COGNITION:
        of = [picture for picture in pictures if picture.category == name]
        if not of:
            continue
        points = sum(picture.points for picture in of) / len(of)
        both = 100 * sum(picture.points == 200 for picture in of) / len(of)
        parts |= {name: points, f"{name}, acc": points - both, f"{name}, acc+": both}
        cognition += points if name in COGNITION else 0
    return {"cognition": cognition, **parts}


def _truth(inputs: ScoringInput) -> list[bool]:
    """Whether yes is right, of every question."""
    if all("answer" in question.content for question in inputs.questions):
        return [is_yes(right_answer(question), question.where) for question in inputs.questions]
    folder = inputs.required_references()
    files: dict[Path, dict[str, str]] = {}
    found = []
    for question in inputs.questions:
        path = _file(folder, question)
        if path not in files:
            files[path] = _lines(path)
        asked = _asked(question.text)
        if asked not in files[path]:
            raise MergeError(
                f"{shown(asked)} has no answer there",
                where=f"{question.where}\n{path}",
                hint="are these the references of these questions?",
            )
        found.append(is_yes(files[path][asked], str(path)))
    return found


def _file(folder: Path, question: Question) -> Path:
    """The text file of a picture."""
    category, stem = category_of(question), Path(str(question.id)).stem
    places = [folder / category / "questions_answers_YN", folder / category]
    files = [place / f"{stem}.txt" for place in places]
    return next((file for file in files if file.is_file()), files[-1])


def _lines(path: Path) -> dict[str, str]:
    with reading(path):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    fields = [line.rstrip("\r").split("\t") for line in lines]
    if any(len(line) != 2 for line in fields):
        raise MergeError(
            "a line is no question and answer", where=str(path), hint="a tab stands between them"
        )
    return {_asked(question): answer for question, answer in fields}


def _asked(text: str) -> str:
    """A question without the instructions about how to answer it."""
    for added in _ADDED:
        text = text.replace(added, " ")
    return " ".join(text.split())
