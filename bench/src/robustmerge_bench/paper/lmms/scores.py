"""Scores by both protocols, for the YAML files.

lmms-eval collects one item for every answer (`results`) and calls a metric's function, which turns
them into one number. Scores are computed from all answers together, as in `bench score`.
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
    """Return the item of an answer: its text for the scores, and whether it is empty."""
    name = document[docs.MARK]
    item = {"task": name, "place": document["place"], "text": answers[0]}
    items = {"official": item, "fixed": item, "empty": float(not answers[0].strip())}
    return items | {"metrics": item} if TASKS[name].kind == "captions" else items


def official(items: Sequence[Item]) -> float:
    """Return the score by the released scripts' rules, bug for bug.

    NaN for the first questions alone (--limit) of a task whose script needs all.
    """
    task = TASKS[items[0]["task"]]
    if RULES[task.kind].counts == "references" and len(items) < len(docs.questions_of(task)):
        _log.warning("%s: the released script scores all answers or none", task.title)
        return math.nan
    return _score_items("official", items).value


def fixed(items: Sequence[Item]) -> float:
    """Return the score by the corrected rules."""
    return _score_items("fixed", items).value


def metrics(items: Sequence[Item]) -> float:
    """Return the number of metrics in a caption task's score: 7, or 6 where METEOR is missing."""
    return 7.0 - len(_score_items("fixed", items).missing)


def _score_items(protocol: Protocol, items: Sequence[Item]) -> Score:
    answers = tuple(sorted((item["place"], item["text"]) for item in items))
    return _score(protocol, items[0]["task"], answers)


@lru_cache(maxsize=8)
def _score(protocol: Protocol, name: str, answers: tuple[tuple[int, str], ...]) -> Score:
    """Score answers, each with the index of its question."""
    task = TASKS[name]
    questions = docs.questions_of(task)
    inputs = replace(
        docs.inputs_of(task),
        questions=[questions[number] for number, _ in answers],
        predictions=[
            Prediction(f"answer {number + 1}", questions[number].id, text, prompt="")
            for number, text in answers
        ],
    )
    score = RULES[task.kind].apply(protocol, inputs)
    if score.missing:
        _log.warning("%s: %s could not be computed", task.title, ", ".join(score.missing))
    return score
