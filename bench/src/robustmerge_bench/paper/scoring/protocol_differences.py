"""Why the two protocols differ, for whoever sees two numbers."""

from __future__ import annotations

from ..score import Score
from ..tasks import Kind, PaperTask

MUCH = 1.0  # percentage points
MUCH_OF_POINTS = 20.0  # MME's, of 2,000
# Of these, official counts whatever answers there are.
LINE_BY_LINE: tuple[Kind, ...] = ("letter", "class", "vqa", "words", "ocr", "box", "pope")

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
    "label": "",  # they are one rule
    "pope": "official takes everything without no or not for yes, an empty answer too",
    "mme": "official looks for yes or no in the first four characters only",
    "mmbench": "official takes a letter anywhere, and parts of words; fixed wants the letter to be "
    "the answer, or one option to be named in whole words",
}


def explain_difference(task: PaperTask, official: Score, fixed: Score) -> str:
    """A sentence on the rules that may make them differ; '' where they differ little."""
    apart = official.value - fixed.value
    if abs(apart) < (MUCH_OF_POINTS if official.figure == "points" else MUCH):
        return ""
    more = "more" if apart > 0 else "less"
    told = f"official gives {abs(apart):.2f} {more} than fixed: {_WHY[task.kind]}"
    if official.figure == "mean":
        told += _samples(official, fixed)
    return told


def _samples(official: Score, fixed: Score) -> str:
    """How many samples get more by one protocol, with one of them."""
    ours, theirs = (
        {str(name): float(row[0]) for name, row in zip(score.ids, score.rows, strict=True)}
        for score in (official, fixed)
    )
    both = [name for name in ours if name in theirs]
    told = ""
    for protocol, sign in (("official", 1), ("fixed", -1)):
        better = [name for name in both if sign * (ours[name] - theirs[name]) > 0]
        if better:
            told += f"; {protocol} gives more for {len(better)}, such as {better[0]!r}"
    return told
