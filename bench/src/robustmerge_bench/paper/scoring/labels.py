"""The class of a picture, by its name: exact but for case, spacing and a period at the end.

No released script is known for these tasks, so that `official` and `fixed` are one rule: the share
of pictures whose class is told. Chance is one of the classes that occur.
"""

from __future__ import annotations

from ...metrics.exact import normalized
from ..score import Protocol, Score
from .chance import among_classes
from .exam import ScoringInput, answer_of
from .marks import SampleScore, scored, worth
from .matching import answered


def official(exam: ScoringInput) -> Score:
    """As `fixed`."""
    return _scored(exam, "official")


def fixed(exam: ScoringInput) -> Score:
    """Whether the name of the class is told; what is the name of none is unparsable."""
    return _scored(exam, "fixed")


def _scored(exam: ScoringInput, protocol: Protocol) -> Score:
    known = {normalized(answer_of(question)) for question in exam.questions}
    marks = []
    for question, text in answered(exam):
        said = normalized(text)
        right = said == normalized(answer_of(question)) != ""
        marks.append(SampleScore(question.id, worth(right), text, said in known))
    return scored(exam, protocol, marks, chance=among_classes(exam.questions))
