"""The two rules of each kind of task, and the score of a task's predictions by one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from robustmerge.errors import MergeError

from ..data.predictions import read_predictions
from ..data.read import load_questions
from ..score import Protocol, Score
from ..tasks import PaperTask
from . import captions, fixed, mmbench, mme, official, pope, problems
from .inputs import Missing, ScoringInput

Rule = Callable[[ScoringInput], Score]


@dataclass(frozen=True)
class ScoringRule:
    """How one kind of task is scored.

    Attributes:
        official: The rule of the released scripts.
        fixed: The corrected rule.
        counts: What the official rule loops over. Of answers, it counts those that are present;
            of references, it needs the file, and an answer to each of them.
        difference: Why the two may differ, as part of a sentence.
    """

    official: Rule
    fixed: Rule
    counts: Literal["answers", "questions", "references"]
    difference: str = ""

    def apply(self, protocol: Protocol, inputs: ScoringInput) -> Score:
        """Score answers by the rule of one protocol."""
        return (self.official if protocol == "official" else self.fixed)(inputs)


RULES: Mapping[str, ScoringRule] = MappingProxyType(
    {
        # an option's letter; the problems are in a file of their own
        "problems": ScoringRule(
            problems.official,
            problems.fixed,
            "references",
            "official goes through the test problems rather than the questions, and finds no "
            "letter in (B), b or `The answer is B`",
        ),
        # an option's letter
        "letter": ScoringRule(
            official.letter,
            fixed.letter,
            "answers",
            "official wants the letter alone: `B.` is wrong",
        ),
        "captions": ScoringRule(
            captions.official,
            captions.fixed,
            "references",
            "official takes line k for image k, whatever its id, and splits words with Java",
        ),
        # the name of the object in the image
        "class": ScoringRule(
            official.classes,
            fixed.classes,
            "answers",
            "official accepts either text within the other: an empty answer, one letter, a list "
            "of classes, Hip in Ship; fixed wants the class named, as whole words, and no other",
        ),
        "vqa": ScoringRule(
            official.vqa,
            fixed.vqa,
            "answers",
            "official wants the one answer of the file, letter for letter; fixed normalizes, and "
            "counts the annotators' answers where there are ten",
        ),
        # a word or phrase
        "words": ScoringRule(
            official.words,
            fixed.words,
            "answers",
            "official wants the answer letter for letter: a period or 1000 for 1,000 is wrong",
        ),
        # a word or phrase, or "Unanswerable"
        "ocr": ScoringRule(
            official.ocr,
            fixed.words,
            "answers",
            "official wants the answer letter for letter: a period is wrong",
        ),
        "box": ScoringRule(
            official.box,
            fixed.box,
            "answers",
            "official drops the last character of a box, reads none among other words, and takes "
            "thousandths or pixels for fractions",
        ),
        # the class of an image; no released script is known, so that both are one rule
        "label": ScoringRule(
            partial(fixed.label, protocol="official"),
            partial(fixed.label, protocol="fixed"),
            "questions",
        ),
        "pope": ScoringRule(
            pope.official,
            pope.fixed,
            "answers",
            "official takes everything without no or not for yes, an empty answer too",
        ),
        "mme": ScoringRule(
            mme.official,
            mme.fixed,
            "questions",
            "official looks for yes or no in the first four characters only",
        ),
        "mmbench": ScoringRule(
            mmbench.official,
            mmbench.fixed,
            "questions",
            "official accepts a letter anywhere, and parts of words; fixed wants the letter to be "
            "the answer, or one option to be named in whole words",
        ),
    }
)


def score(
    task: PaperTask,
    questions: Path,
    predictions: Path,
    *,
    protocol: Protocol,
    references: Path | None = None,
    missing: Missing = "refuse",
) -> Score:
    """Score the predictions of one task.

    Args:
        task: The task.
        questions: Its question file, or folder of images by class.
        predictions: The answers, JSON lines.
        protocol: official, as the released scripts do it, bug for bug; or fixed.
        references: The right answers, where they are not in the questions; by default the file
            with their usual name next to the questions.
        missing: What the fixed rules do about questions without an answer: refuse, or count them
            as wrong.
    """
    if references and not task.references:
        raise MergeError(
            f"{task.title} has no references: the right answers are in its questions",
            where=str(references),
            hint="leave it out; or is it another task?",
        )
    inputs = ScoringInput(
        task=task,
        file=questions,
        questions=load_questions(questions, task),
        predictions=read_predictions(predictions),
        source=references,
        missing=missing,
    )
    return RULES[task.kind].apply(protocol, inputs)
