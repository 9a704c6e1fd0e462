"""ScienceQA: one of up to five options by letter; the problems are in a file of their own.

    problems.json       {"17": {"choices": ["a cat", "a dog"], "answer": 1, …}, …}
    pid_splits.json     {"test": ["17", …], …}, next to it

The released script goes through the test problems, not through questions or answers, and looks
answers up by the problem's id, so that the last of several counts. It also prints the accuracy over
answers whose prompt had an image (the part `picture`); which of the two the paper has is not known.

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
from .sample_scores import mean_score, percent, right_or_wrong

_LETTERS = tuple("ABCDE")
_SENTENCE = re.compile(r"The answer is ([A-Z]).")  # the period is any character, as in the script
_SPLITS = "pid_splits.json"


@dataclass(frozen=True)
class ScienceProblem:
    """One problem of ScienceQA.

    Attributes:
        choices: Number of its options.
        answer: Index of the right one, from 0.
    """

    choices: int
    answer: int


def official(inputs: ScoringInput) -> Score:
    """Score all test problems by the script's rule; one without an answer is wrong."""
    path = inputs.required_references(
        "; or --protocol fixed, which takes a letter in the questions for the answer"
    )
    problems = read_problems(path)
    answers = {prediction.id: prediction for prediction in inputs.predictions}
    samples, with_image = [], []
    for name in _test_ids(path, problems):
        prediction = answers.get(name)
        text = prediction.text if prediction else ""
        letter, problem = official_letter(text), problems[name]
        right = letter in _LETTERS and _LETTERS.index(letter) == problem.answer
        sample = right_or_wrong(name, text, right, bool(letter))
        samples.append(sample)
        if prediction and "<image>" in prediction.prompt:
            with_image.append(sample)
    parts = {"picture": percent(with_image)} if with_image else {}
    chance = chance_among_options((), [problems[str(sample.id)].choices for sample in samples])
    return mean_score(inputs, "official", samples, parts=parts, chance=chance)


def official_letter(text: str) -> str:
    """Return the letter that the script finds in an answer; '' where it finds none.

    >>> [official_letter(x) for x in ("B", "B. a cat", "The answer is B.", "The answer is B")]
    ['B', 'B', 'B', '']
    """
    if text in _LETTERS:
        return text
    if len(text) > 2 and text[0] in _LETTERS and text[1:3] == ". ":
        return text[0]
    letters = _SENTENCE.findall(text)
    return letters[0] if len(letters) == 1 else ""


def fixed(inputs: ScoringInput) -> Score:
    """Score all questions; the right option's letter counts in any form."""
    problems = read_problems(inputs.references) if inputs.references else {}
    samples, counts = [], []
    for question, text in match_answers(inputs):
        problem = problems.get(str(question.id))
        letter, right = letter_in(text), _right(question, problem)
        samples.append(right_or_wrong(question.id, text, letter == right, bool(letter)))
        counts.append(problem.choices if problem else count_options(question.text))
    parts = {}
    pairs = list(zip(samples, inputs.questions, strict=True))
    for name, with_image in (("picture", True), ("no picture", False)):
        if some := [sample for sample, q in pairs if (q.image is not None) == with_image]:
            parts[name] = percent(some)
    return mean_score(
        inputs, "fixed", samples, parts=parts, chance=chance_among_options((), counts)
    )


def read_problems(path: Path) -> dict[str, ScienceProblem]:
    """Read the problems by id."""
    problems = {}
    for name, content in _object(path).items():
        match content:
            case {"choices": list() as choices, "answer": int() as answer} if (
                0 <= answer < len(choices)
            ):
                problems[name] = ScienceProblem(len(choices), answer)
            case _:
                raise MergeError(
                    f"{shown(content)} is not a problem",
                    where=f"{path}, problem {name}",
                    hint="a problem has choices, and the index of the right one, from 0, as answer",
                )
    return problems


def _right(question: Question, problem: ScienceProblem | None) -> str:
    """Return the right letter: the question's own, or that of its problem."""
    if problem and "answer" not in question.content:
        return chr(ord("A") + problem.answer)
    answer = right_answer(question).strip().upper()
    if not re.fullmatch("[A-Z]", answer):
        raise MergeError(
            f"the answer is {shown(answer)}, which is not a letter",
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
    """Return the ids of the test problems, each once."""
    splits = path.with_name(_SPLITS)
    names = _object(splits).get("test")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MergeError(
            f"the test split is {shown(names)}, not a list of ids",
            where=str(splits),
            hint='the file is of the form {"test": ["4", "11", …]}',
        )
    if unknown := [name for name in names if name not in problems]:
        raise MergeError(
            f"{len(unknown)} test problems are not in {path.name}: {few(unknown)}",
            where=str(splits),
            hint="both files are of one data set",
        )
    return list(dict.fromkeys(names))


def _object(path: Path) -> Mapping[str, Any]:
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MergeError(f"not JSON: {error}", where=str(path)) from None
    if isinstance(content, dict):
        return content
    raise MergeError(f"{shown(content)} is not an object", where=str(path))
