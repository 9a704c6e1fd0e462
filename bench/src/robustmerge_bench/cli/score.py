"""`robustmerge bench score`: what predictions are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def score(
    *,
    task: str,
    predictions: Path,
    questions: Path,
    references: Path | None = None,
    protocol: Literal["official", "fixed", "both"] = "both",
    missing: Literal["refuse", "wrong"] = "refuse",
    json: Path | None = None,
) -> None:
    """Score a task's predictions, without a model.

    Args:
        task: Name of the task: scienceqa, imagenet, vqav2, rec, ocrvqa, vizwiz, flickr30k, iconqa,
            aokvqa, imagenet-r, screen2words, tabmwp; pope, mme, mmbench; cars, mnist, sun397,
            gtsrb, resisc45, dtd, eurosat, svhn.
        predictions: The answers: JSON lines with question_id and text.
        questions: The task's question file, or its folder of pictures by class.
        references: The right answers, where they are not in the questions: captions, ScienceQA's
            problems.json, the label folders of POPE and MME. Found beside the questions under
            their usual name unless given.
        protocol: official reproduces the released scripts, bug for bug; fixed is right; both
            shows them side by side.
        missing: What fixed does about questions without an answer: refuse, or count them as wrong.
        json: File to write the score to, with a row for every sample; of both protocols, the
            name gets .official and .fixed before its ending.
    """
    from . import show_score

    show_score.run(task, predictions, questions, references, protocol, missing, json)
