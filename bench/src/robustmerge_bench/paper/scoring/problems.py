"""ScienceQA: one of up to five options by letter; the problems are in a file of their own.

    problems.json       {"17": {"choices": ["a cat", "a dog"], "answer": 1, …}, …}
    pid_splits.json     {"test": ["17", …], …}, beside it

The released script goes through the test problems, not through questions or answers, and looks
answers up by the problem's id, so that the last of several counts. It also prints the accuracy over
answers whose prompt had a picture (`picture` here); which of the two the paper has is not known.

Source: llava/eval/eval_science_qa.py of haotian-liu/LLaVA.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, few, reading, shown

from ...metrics.letter import letter as letter_in
from ..data.questions import Question
from ..score import Score
from .chance import chance_among_options, count_options
from .inputs import ScoringInput, right_answer
from .matching import match_answers
from .sample_scores import SampleScore, full_or_none, mean_score, percent

_LETTERS = tuple("ABCDE")
_SENTENCE = re.compile(r"The answer is ([A-Z]).")  # the period is any character, as in the script
_SPLITS = "pid_splits.json"


@dataclass(frozen=True)
class ScienceProblem:
    """One problem.

    Attributes:
        choices: How many options it has.
        answer: Which of them is right, from 0.
    """

    choices: int
    answer: int


def official(inputs: ScoringInput) -> Score:
    """The script's rule, over all test problems; one without an answer is wrong."""
    path = inputs.required_references(
        "; or --protocol fixed, which takes a letter in the questions for the answer"
    )
    problems = read_problems(path)
    said = {prediction.id: prediction for prediction in inputs.predictions}
    samples, with_image = [], []
    for name in _test_ids(path, problems):
        prediction = said.get(name)
        text = prediction.text if prediction else ""
        found, problem = official_letter(text), problems[name]
        right = found in _LETTERS and _LETTERS.index(found) == problem.answer
        sample = SampleScore(name, full_or_none(right), text, bool(found))
        samples.append(sample)
        if prediction and "<image>" in prediction.prompt:
            with_image.append(sample)
    parts = {"picture": percent(with_image)} if with_image else {}
    chance = chance_among_options((), [problems[str(sample.id)].choices for sample in samples])
    return mean_score(inputs, "official", samples, parts=parts, chance=chance)


def official_letter(text: str) -> str:
    """The letter that the script finds in an answer; '' where it finds none.

    >>> [official_letter(x) for x in ("B", "B. a cat", "The answer is B.", "The answer is B")]
    ['B', 'B', 'B', '']
    """
    if text in _LETTERS:
        return text
    if len(text) > 2 and text[0] in _LETTERS and text[1:3] == ". ":
        return text[0]
    found = _SENTENCE.findall(text)
    return found[0] if len(found) == 1 else ""


def fixed(inputs: ScoringInput) -> Score:
    """The right option's letter, however it is written, over all questions."""
    problems = read_problems(inputs.references) if inputs.references else {}
    samples, counts = [], []
    for question, text in match_answers(inputs):
        problem = problems.get(str(question.id))
        said = letter_in(text)
        samples.append(
            SampleScore(
                question.id, full_or_none(said == _right(question, problem)), text, bool(said)
            )
        )
        counts.append(problem.choices if problem else count_options(question.text))
    parts = {}
    for name, there in (("picture", True), ("no picture", False)):
        some = [
            m
            for m, q in zip(samples, inputs.questions, strict=True)
            if (q.image is not None) == there
        ]
        if some:
            parts[name] = percent(some)
    return mean_score(
        inputs, "fixed", samples, parts=parts, chance=chance_among_options((), counts)
    )


def read_problems(path: Path) -> dict[str, ScienceProblem]:
    """The problems by id.

    Raises:
        MergeError: The file is none of problems; the message names the problem.
    """
    problems = {}
    for name, content in _object(path).items():
        match content:
            case {"choices": list() as choices, "answer": int() as answer} if (
                0 <= answer < len(choices)
            ):
                problems[name] = ScienceProblem(len(choices), answer)
            case _:
                raise MergeError(
                    f"{shown(content)} is no problem",
                    where=f"{path}, problem {name}",
                    hint="a problem has choices, and which of them is the answer, from 0",
                )
    return problems


def _right(question: Question, problem: ScienceProblem | None) -> str:
    """The right letter: the question's own, or that of its problem.

    Raises:
        MergeError: There is none, or the two disagree.
    """
    if problem and "answer" not in question.content:
        return chr(ord("A") + problem.answer)
    answer = right_answer(question).strip().upper()
    if not re.fullmatch("[A-Z]", answer):
        raise MergeError(
            f"the answer is {shown(answer)}, which is no letter",
            where=question.where,
            hint="give the option's letter, or name problems.json: --references FILE",
        )
    if problem and answer != chr(ord("A") + problem.answer):
        raise MergeError(
            f"the right answer of {shown(question.id)} is {answer}, or "
            f"{chr(ord('A') + problem.answer)} by problems.json",
            where=question.where,
            hint="are these the problems of these questions?",
        )
    return answer


def _test_ids(path: Path, problems: Mapping[str, ScienceProblem]) -> Sequence[str]:
    """The ids of the test problems, each once.

    Raises:
        MergeError: The file of splits is missing, has no test split, or one with other problems.
    """
    splits = path.with_name(_SPLITS)
    names = _object(splits).get("test")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MergeError(
            f"the test split is {shown(names)}, not a list of ids",
            where=str(splits),
            hint='the file is of the form {"test": ["4", "11", …]}',
        )
    if strange := [name for name in names if name not in problems]:
        raise MergeError(
            f"{len(strange)} test problems are not in {path.name}: {few(strange)}",
            where=str(splits),
            hint="both files are of one data set",
        )
    return list(dict.fromkeys(names))


def _object(path: Path) -> Mapping[str, Any]:
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MergeError(f"not JSON: {error}", where=str(path)) from None
    if isinstance(found, dict):
        return found
    raise MergeError(f"{shown(found)} is not an object", where=str(path))
