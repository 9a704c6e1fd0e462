"""What answers are worth, by both protocols, for the YAML files.

lmms-eval collects one item for every answer (`results`) and has a metric's function make one number
of them. Scores are made of all answers together, as `bench score` makes them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..data.predictions import Prediction
from ..score import Protocol, Score
from ..scoring.rules import RULES
from ..tasks import TASKS
from . import docs

Item = Mapping[str, Any]
_log = logging.getLogger(__name__)


def results(document: Mapping[str, Any], answers: Sequence[str]) -> dict[str, Any]:
    """What is kept of an answer: itself for the scores, and whether it is empty."""
    name = document[docs.MARK]
    item = {"task": name, "place": document["place"], "text": answers[0]}
    found = {"official": item, "fixed": item, "empty": float(not answers[0].strip())}
    return found | {"metrics": item} if TASKS[name].kind == "captions" else found


def official(items: Sequence[Item]) -> float:
    """The score as the released scripts have it, bug for bug.

    NaN for the first questions alone (--limit) of a task whose script needs all.
    """
    task = TASKS[items[0]["task"]]
    if RULES[task.kind].counts == "references" and len(items) < len(docs.questions_of(task)):
        _log.warning("%s: the released script scores all answers or none", task.title)
        return math.nan
    return _scored("official", items).value


def fixed(items: Sequence[Item]) -> float:
    """The score as it should be."""
    return _scored("fixed", items).value


def metrics(items: Sequence[Item]) -> float:
    """Of how many metrics a caption task's score is the mean: 7, or 6 where METEOR is missing."""
    return 7.0 - len(_scored("fixed", items).missing)


def _scored(protocol: Protocol, items: Sequence[Item]) -> Score:
    answers = tuple(sorted((item["place"], item["text"]) for item in items))
    return _score(protocol, items[0]["task"], answers)


@lru_cache(maxsize=8)
def _score(protocol: Protocol, name: str, answers: tuple[tuple[int, str], ...]) -> Score:
    """The score of answers, each with the place of its question."""
    task = TASKS[name]
    questions = docs.questions_of(task)
    inputs = replace(
        docs.inputs_of(task),
        questions=[questions[place] for place, _ in answers],
        predictions=[
            Prediction(f"answer {place + 1}", questions[place].id, text, prompt="")
            for place, text in answers
        ],
    )
    score = RULES[task.kind].apply(protocol, inputs)
    if score.missing:
        _log.warning("%s: %s could not be computed", task.title, ", ".join(score.missing))
    return score
