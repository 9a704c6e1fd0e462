"""Why the scores of the two protocols differ, for readers who see both numbers."""

from __future__ import annotations

from ..score import Score
from ..tasks import PaperTask
from .rules import RULES

MUCH = 1.0  # percentage points
MUCH_OF_POINTS = 20.0  # MME's, of 2,000


def explain_difference(task: PaperTask, official: Score, fixed: Score) -> str:
    """Return a sentence on the rules that may cause a difference; '' if it is small."""
    difference = official.value - fixed.value
    if abs(difference) < (MUCH_OF_POINTS if official.figure == "points" else MUCH):
        return ""
    more = "more" if difference > 0 else "less"
    reason = RULES[task.kind].difference
    sentence = f"official gives {abs(difference):.2f} {more} than fixed: {reason}"
    return sentence + (_count_samples(official, fixed) if official.figure == "mean" else "")


def _count_samples(official: Score, fixed: Score) -> str:
    """Count the samples with a higher score by one protocol, and name one of them."""
    ours, theirs = (
        {str(name): float(row[0]) for name, row in zip(score.ids, score.rows, strict=True)}
        for score in (official, fixed)
    )
    text = ""
    for protocol, sign in (("official", 1), ("fixed", -1)):
        better = [n for n in ours if n in theirs and sign * (ours[n] - theirs[n]) > 0]
        if better:
            text += f"; {protocol} gives more for {len(better)}, such as {better[0]!r}"
    return text
