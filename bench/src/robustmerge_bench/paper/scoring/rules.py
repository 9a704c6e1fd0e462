"""Scoring a task's predictions: which rule applies, and the files it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from robustmerge.errors import MergeError

from ..data.pictures import questions_at
from ..data.predictions import read_predictions
from ..score import Protocol, Score
from ..tasks import PaperTask
from . import captions, fixed, labels, mmbench, mme, official, pope, problems
from .inputs import Missing, ScoringInput

Rule = Callable[[ScoringInput], Score]

_OFFICIAL: Mapping[str, Rule] = MappingProxyType(
    {
        "problems": problems.official,
        "letter": official.letter,
        "captions": captions.official,
        "class": official.classes,
        "vqa": official.vqa,
        "words": official.words,
        "ocr": official.ocr,
        "box": official.box,
        "label": labels.official,
        "pope": pope.official,
        "mme": mme.official,
        "mmbench": mmbench.official,
    }
)
_FIXED: Mapping[str, Rule] = MappingProxyType(
    {
        "problems": problems.fixed,
        "letter": fixed.letter,
        "captions": captions.fixed,
        "class": fixed.classes,
        "vqa": fixed.vqa,
        "words": fixed.words,
        "ocr": fixed.words,
        "box": fixed.box,
        "label": labels.fixed,
        "pope": pope.fixed,
        "mme": mme.fixed,
        "mmbench": mmbench.fixed,
    }
)
RULES: Mapping[str, Mapping[str, Rule]] = MappingProxyType({"official": _OFFICIAL, "fixed": _FIXED})


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
        questions: Its question file, or folder of pictures by class.
        predictions: The answers, JSON lines.
        protocol: official, as the released scripts do it, bug for bug; or fixed.
        references: The right answers, where they are not in the questions; found beside the
            questions under their usual name unless given.
        missing: What the fixed rules do about questions without an answer: refuse, or count them
            as wrong.

    Raises:
        MergeError: A file is not what it should be, or the files do not belong together; the
            message names the sample.
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
        questions=questions_at(questions, task),
        predictions=read_predictions(predictions),
        source=references,
        missing=missing,
    )
    return RULES[protocol][task.kind](inputs)
