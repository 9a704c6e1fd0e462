"""From answers marked one by one to the score of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robustmerge.errors import MergeError

from ..data.questions import Id
from ..score import Protocol, Score
from .inputs import ScoringInput


@dataclass(frozen=True)
class SampleScore:
    """What one answer is worth.

    Attributes:
        id: The question's.
        score: 0 to 100.
        text: The answer.
        parsable: Whether it is what was asked for, such as a box, as far as the rule can tell.
    """

    id: Id
    score: float
    text: str
    parsable: bool = True


def mean_score(
    inputs: ScoringInput,
    protocol: Protocol,
    samples: Sequence[SampleScore],
    *,
    parts: Mapping[str, float] | None = None,
    chance: float | None = None,
) -> Score:
    """The mean over marks."""
    rows = np.array([[sample.score] for sample in samples], float)
    return score_from_rows(inputs, protocol, "mean", samples, rows, parts=parts, chance=chance)


def score_from_rows(
    inputs: ScoringInput,
    protocol: Protocol,
    figure: str,
    samples: Sequence[SampleScore],
    rows: np.ndarray,
    *,
    ids: Sequence[Id] = (),
    parts: Mapping[str, float] | None = None,
    missing: Sequence[str] = (),
    chance: float | None = None,
) -> Score:
    """A score of another figure than the mean of marks.

    Args:
        inputs: What was scored.
        protocol: By which rules.
        figure: How the value follows from the rows.
        samples: The answers, of which empty and unparsable ones are counted.
        rows: What the figure is computed from [samples, columns].
        ids: The samples, where they are others than the answers.
        parts: Other figures.
        missing: Metrics that could not be computed.
        chance: What guessing gets.

    Raises:
        MergeError: There is nothing to score.
    """
    if not samples:
        raise MergeError("there is nothing to score", where=str(inputs.file))
    empty = [not sample.text.strip() for sample in samples]
    unparsable = [
        not sample.parsable and not blank for sample, blank in zip(samples, empty, strict=True)
    ]
    return Score(
        task=inputs.task.name,
        protocol=protocol,
        figure=figure,
        ids=tuple(ids or [sample.id for sample in samples]),
        rows=rows,
        empty=sum(empty) / len(samples),
        unparsable=sum(unparsable) / len(samples),
        parts=dict(parts or {}),
        missing=tuple(missing),
        chance=chance,
    )


def percent(samples: Sequence[SampleScore]) -> float:
    """The mean over marks."""
    return sum(sample.score for sample in samples) / len(samples)


def full_or_none(right: bool) -> float:
    """100 or 0."""
    return 100.0 if right else 0.0
