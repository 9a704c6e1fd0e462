"""The class of a picture, by its name: exact but for case, spacing and a period at the end.

No released script is known for these tasks, so that `official` and `fixed` are one rule: the share
of pictures whose class is told. Chance is one of the classes that occur.
"""

from __future__ import annotations

from ...metrics.exact import normalized
from ..score import Protocol, Score
from .chance import chance_among_classes
from .inputs import ScoringInput, right_answer
from .matching import match_answers
from .sample_scores import SampleScore, full_or_none, mean_score


def official(inputs: ScoringInput) -> Score:
    """As `fixed`."""
    return _scored(inputs, "official")


def fixed(inputs: ScoringInput) -> Score:
    """Whether the name of the class is told; what is the name of none is unparsable."""
    return _scored(inputs, "fixed")


def _scored(inputs: ScoringInput, protocol: Protocol) -> Score:
    known = {normalized(right_answer(question)) for question in inputs.questions}
    samples = []
    for question, text in match_answers(inputs):
        said = normalized(text)
        right = said == normalized(right_answer(question)) != ""
        samples.append(SampleScore(question.id, full_or_none(right), text, said in known))
    return mean_score(inputs, protocol, samples, chance=chance_among_classes(inputs.questions))
