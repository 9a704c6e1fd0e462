"""From answers marked one by one to the score of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustmerge.errors import MergeError

from ..data.questions import Id
from ..score import Protocol, Score
from .exam import ScoringInput


@dataclass(frozen=True)
class SampleScore:
    """What one answer is worth.

    Attributes:
        id: The question's.
        worth: 0 to 100.
        text: The answer.
        parsable: Whether it is what was asked for, such as a box, as far as the rule can tell.
    """

    id: Id
    worth: float
    text: str
    parsable: bool = True


def scored(
    exam: ScoringInput,
    protocol: Protocol,
    marks: Sequence[SampleScore],
    *,
    parts: Mapping[str, float] | None = None,
    chance: float | None = None,
) -> Score:
    """The mean over marks."""
    rows = np.array([[mark.worth] for mark in marks], float)
    return summed(exam, protocol, "mean", marks, rows, parts=parts, chance=chance)


def summed(
    exam: ScoringInput,
    protocol: Protocol,
    figure: str,
    marks: Sequence[SampleScore],
    rows: np.ndarray,
    *,
    ids: Sequence[Id] = (),
    parts: Mapping[str, float] | None = None,
    missing: Sequence[str] = (),
    chance: float | None = None,
) -> Score:
    """A score of another figure than the mean of marks.

    Args:
        exam: What was scored.
        protocol: By which rules.
        figure: How the value follows from the rows.
        marks: The answers, of which empty and unparsable ones are counted.
        rows: What the figure is computed from [samples, columns].
        ids: The samples, where they are others than the answers.
        parts: Other figures.
        missing: Metrics that could not be computed.
        chance: What guessing gets.

    Raises:
        MergeError: There is nothing to score.
    """
    if not marks:
        raise MergeError("there is nothing to score", where=str(exam.file))
    empty = [not mark.text.strip() for mark in marks]
    unparsable = [not mark.parsable and not blank for mark, blank in zip(marks, empty, strict=True)]
    return Score(
        task=exam.task.name,
        protocol=protocol,
        figure=figure,
        ids=tuple(ids or [mark.id for mark in marks]),
        rows=rows,
        empty=sum(empty) / len(marks),
        unparsable=sum(unparsable) / len(marks),
        parts=dict(parts or {}),
        missing=tuple(missing),
        chance=chance,
    )


def percent(marks: Sequence[SampleScore]) -> float:
    """The mean over marks."""
    return sum(mark.worth for mark in marks) / len(marks)


def worth(right: bool) -> float:
    """100 or 0."""
    return 100.0 if right else 0.0
