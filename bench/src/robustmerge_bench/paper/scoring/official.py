"""The released scripts' rules for words, classes and boxes, bug for bug.

Denominators are the lines of answers, so that an unfinished run is scored on what there is. None
of these is what one would want (`fixed.py` is), but published figures were computed by them.

Source: llava/eval/eval_{iconqa,aokvqa,vqav2,ocrvqa,ImagetNet,grounding}.py of
AuroraZengfh/RobustMerge at 1212802.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..score import Score
from .boxes import reference, size
from .chance import chance_among_classes, chance_among_options
from .inputs import ScoringInput, right_answer
from .matching import Pair, match_by_id, match_by_line
from .sample_scores import SampleScore, full_or_none, mean_score

_FOUR = 4


def words(inputs: ScoringInput) -> Score:
    """Equal but for case, as written: a period at the end is one character too many."""
    return _equal(inputs, match_by_id(inputs))


def letter(inputs: ScoringInput) -> Score:
    """As `words`: a letter with anything beside it is wrong."""
    return _equal(inputs, match_by_id(inputs), chance=chance_among_options(inputs.questions))


def vqa(inputs: ScoringInput) -> Score:
    """As `words`, with the one answer that the file gives; ids are compared as text."""
    return _equal(inputs, match_by_id(inputs, str))


def ocr(inputs: ScoringInput) -> Score:
    """As `words`, but an answer in which "Unanswerable" occurs is wrong, also if it is right."""

    def right(text: str, answer: str) -> bool:
        return "Unanswerable" not in text and text.lower() == answer.lower()

    return _marked(inputs, match_by_id(inputs), right)


def classes(inputs: ScoringInput) -> Score:
    """Either text is part of the other, but for case: an empty answer is right, as is a list."""

    def right(text: str, answer: str) -> bool:
        return answer.upper() in text.upper() or text.upper() in answer.upper()

    return _marked(
        inputs, match_by_line(inputs), right, chance=chance_among_classes(inputs.questions)
    )


def box(inputs: ScoringInput) -> Score:
    """Boxes that overlap by more than half, of which the last digit is cut off."""
    samples = []
    for question, prediction in match_by_id(inputs):
        right, said = reference(question), cut_box(prediction.text)
        hit = said is not None and _overlap(said, right, max(size(question))) > 0.5
        samples.append(
            SampleScore(prediction.id, full_or_none(hit), prediction.text, said is not None)
        )
    return mean_score(inputs, "official", samples)


def cut_box(text: str) -> list[float] | None:
    """The four numbers that the script reads, None where it reads none.

    It deletes square brackets, wherever they are, and then the first and the last character, which
    it takes for the brackets.

    >>> cut_box("[0.12, 0.34, 0.56, 0.78]")
    [0.12, 0.34, 0.56, 0.7]
    """
    try:
        found = [float(part) for part in re.sub(r"[\[\]]", "", text)[1:-1].split(",")]
    except ValueError:
        return None
    return found if len(found) == _FOUR else None


def _equal(inputs: ScoringInput, pairs: Sequence[Pair], chance: float | None = None) -> Score:
    return _marked(inputs, pairs, lambda text, answer: text.upper() == answer.upper(), chance)


def _marked(
    inputs: ScoringInput,
    pairs: Sequence[Pair],
    right: Callable[[str, str], bool],
    chance: float | None = None,
) -> Score:
    samples = [
        SampleScore(p.id, full_or_none(right(p.text, right_answer(q))), p.text) for q, p in pairs
    ]
    return mean_score(inputs, "official", samples, chance=chance)


def _overlap(a: Sequence[float], b: Sequence[float], side: float) -> float:
    """The overlap as the script has it, also of boxes with corners in the wrong order."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = ([x * side for x in box] for box in (a, b))
    shared = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
    covered = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    return shared / covered if covered > 0 else 0.0
