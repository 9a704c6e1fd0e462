"""Why the two protocols differ, for whoever sees two numbers."""

from __future__ import annotations

from ..score import Score
from ..tasks import Kind, Task

MUCH = 1.0  # percentage points

_WHY: dict[Kind, str] = {
    "problems": "official goes through the test problems rather than the questions, and finds no "
    "letter in (B), b or `The answer is B`",
    "letter": "official wants the letter alone: `B.` is wrong",
    "captions": "official takes line k for image k, whatever its id, and cuts words in Java",
    "class": "official takes either text within the other for right: an empty answer, one letter, "
    "a list of classes, Hip in Ship; fixed wants the class named, as whole words, and no other",
    "vqa": "official wants the one answer of the file, letter for letter; fixed normalizes, and "
    "counts people's answers where there are ten",
    "words": "official wants the answer letter for letter: a period or 1000 for 1,000 is wrong",
    "ocr": "official wants the answer letter for letter: a period is wrong",
    "box": "official cuts the last character off a box, reads none among other words, and takes "
    "thousandths or pixels for shares",
    "pope": "official takes everything without no or not for yes, an empty answer too",
    "mme": "official looks for yes or no in the first four characters only",
    "mmbench": "official finds options within an answer, fixed only a letter or an option's text",
}


def why(task: Task, official: Score, fixed: Score) -> str:
    """A sentence on the rules that may make them differ; '' where they differ little."""
    apart = official.value - fixed.value
    if abs(apart) < MUCH:
        return ""
    more = "more" if apart > 0 else "less"
    told = f"official gives {abs(apart):.2f} {more} than fixed: {_WHY[task.kind]}"
    if official.n != fixed.n:
        told += f"; it counts {official.n} samples, fixed {fixed.n}"
    return told
