"""From the scores of single answers to the score of a task."""

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
    """The score of one answer.

    Attributes:
        score: 0 to 100.
        parsable: Whether the answer has the requested form, such as a box, as far as the rule can
            detect.
    """

    id: Id
    score: float
    text: str
    parsable: bool = True


def right_or_wrong(id: Id, text: str, right: bool, parsable: bool = True) -> SampleScore:
    """Return 100 for a right answer, 0 for a wrong one."""
    return SampleScore(id, 100.0 if right else 0.0, text, parsable)


def mean_score(
    inputs: ScoringInput,
    protocol: Protocol,
    samples: Sequence[SampleScore],
    *,
    parts: Mapping[str, float] | None = None,
    chance: float | None = None,
) -> Score:
    """Return the mean over samples."""
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
    """Return a score of any figure.

    The figure, one of `figures.FIGURES`, is computed from the rows [samples, columns]. Empty and
    unparsable samples are counted. `ids` are those of samples that are not answers (images of MME),
    `parts` other figures, `missing` metrics that could not be computed, and `chance` is the score
    of guessing.
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
    """Return the mean over samples."""
    return sum(sample.score for sample in samples) / len(samples)
