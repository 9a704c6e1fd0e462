"""The released scripts' rules for words, classes and boxes, bug for bug.

Denominators are the lines of answers, so that an unfinished run is scored on the answers it has.
These rules have errors that `fixed.py` corrects, but published figures were computed by them.

Source: llava/eval/eval_{iconqa,aokvqa,vqav2,ocrvqa,ImagetNet,grounding}.py of
AuroraZengfh/RobustMerge at 1212802.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..score import Score
from .boxes import image_size, right_box
from .chance import chance_among_classes, chance_among_options
from .inputs import ScoringInput, right_answer
from .matching import Pair, match_by_id, match_by_line
from .sample_scores import mean_score, right_or_wrong

_NUMBERS_OF_A_BOX = 4


def words(inputs: ScoringInput) -> Score:
    """Require equal text, ignoring case: a period at the end is one character too many."""
    return _score_pairs(inputs, match_by_id(inputs), _equal)


def letter(inputs: ScoringInput) -> Score:
    """Score as `words` does: a letter followed by anything is wrong."""
    chance = chance_among_options(inputs.questions)
    return _score_pairs(inputs, match_by_id(inputs), _equal, chance)


def vqa(inputs: ScoringInput) -> Score:
    """Score as `words` does, with the one answer of the file; ids are compared as text."""
    return _score_pairs(inputs, match_by_id(inputs, str), _equal)


def ocr(inputs: ScoringInput) -> Score:
    """Score as `words` does, but reject each answer with "Unanswerable" in it, even a right one."""

    def right(text: str, answer: str) -> bool:
        return "Unanswerable" not in text and text.lower() == answer.lower()

    return _score_pairs(inputs, match_by_id(inputs), right)


def classes(inputs: ScoringInput) -> Score:
    """Accept either text within the other, ignoring case: an empty answer or a list is right."""

    def right(text: str, answer: str) -> bool:
        return answer.upper() in text.upper() or text.upper() in answer.upper()

    chance = chance_among_classes(inputs.questions)
    return _score_pairs(inputs, match_by_line(inputs), right, chance)


def box(inputs: ScoringInput) -> Score:
    """Require an overlap of more than half; the last digit of the answer's box is lost."""
    samples = []
    for question, prediction in match_by_id(inputs):
        right, answer = right_box(question), cut_box(prediction.text)
        hit = answer is not None and _overlap(answer, right, max(image_size(question))) > 0.5
        samples.append(right_or_wrong(prediction.id, prediction.text, hit, answer is not None))
    return mean_score(inputs, "official", samples)


def cut_box(text: str) -> list[float] | None:
    """Return the four numbers that the script reads, None where it reads none.

    The script deletes all square brackets, and then the first and the last character, which it
    takes for the brackets.

    >>> cut_box("[0.12, 0.34, 0.56, 0.78]")
    [0.12, 0.34, 0.56, 0.7]
    """
    try:
        numbers = [float(part) for part in re.sub(r"[\[\]]", "", text)[1:-1].split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) == _NUMBERS_OF_A_BOX else None


def _equal(text: str, answer: str) -> bool:
    return text.upper() == answer.upper()


def _score_pairs(
    inputs: ScoringInput,
    pairs: Sequence[Pair],
    right: Callable[[str, str], bool],
    chance: float | None = None,
) -> Score:
    samples = [right_or_wrong(p.id, p.text, right(p.text, right_answer(q))) for q, p in pairs]
    return mean_score(inputs, "official", samples, chance=chance)


def _overlap(a: Sequence[float], b: Sequence[float], side: float) -> float:
    """Return the overlap as the script computes it, also for corners in the wrong order."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = ([x * side for x in box] for box in (a, b))
    shared = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
    covered = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    return shared / covered if covered > 0 else 0.0
