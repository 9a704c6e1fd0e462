"""The score of guessing, where that follows from the questions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..data.questions import Question

# An option on a line of its own, or after another: A. a cat; (A) a cat; A: a cat.
_OPTION = re.compile(r"(?:^|[\s(])([A-Z])[.):]\s")


def count_options(text: str) -> int:
    """Count the lettered options of a prompt, from A on; 0 if there are fewer than two.

    >>> count_options("What is it? A. a cat B. a dog (answer with the letter)")
    2
    """
    count = 0
    for letter in _OPTION.findall(text):
        count += letter == chr(ord("A") + count)
    return count if count > 1 else 0


def chance_among_options(
    questions: Sequence[Question], counts: Sequence[int] | None = None
) -> float | None:
    """Return the score of guessing an option, in percent; None if a question has no options."""
    counts = [count_options(q.text) for q in questions] if counts is None else counts
    if not counts or not all(counts):
        return None
    return 100 * sum(1 / count for count in counts) / len(counts)


def chance_among_classes(questions: Sequence[Question]) -> float | None:
    """Return the score of guessing a class of the answers; None if all answers are one class."""
    classes = {str(question.content.get("answer")).lower() for question in questions}
    return 100 / len(classes) if len(classes) > 1 else None
