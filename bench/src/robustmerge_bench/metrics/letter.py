"""Lettered choice: the option that an answer names."""

from __future__ import annotations

import re

from robustmerge.errors import MergeError

# The letter alone, which may be small: B, b., (B), [B].
_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:]?")
# The letter and its option: B. a cat, (B) a cat, B: a cat. Not "A cat", where A is a word.
_FIRST = re.compile(r"(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[.:)])\s")
# A sentence about the letter: The answer is B. Answer: (B), a cat. Not "the answer is A cat".
_SENTENCE = re.compile(r"(?i:\banswer(?: is:?|:))\s*[(\[]?([A-Z])(?=[)\].,:;]|\s*$)")


def letter_match(answer: str, references: tuple[str, ...]) -> float:
    """Return 100 if an answer names a right option, else 0; references are capital letters."""
    for reference in references:
        if not re.fullmatch("[A-Z]", reference):
            raise MergeError(
                f"the right option is {reference!r}",
                where="the answers of the task",
                hint="give its capital letter",
            )
    return 100.0 if letter(answer) in references else 0.0


def letter(answer: str) -> str | None:
    """Return the option that an answer names, None where it names none or several.

    >>> [letter(x) for x in ("B", "(b)", "B. a cat", "The answer is B.", "A cat", "A or B")]
    ['B', 'B', 'B', 'B', None, None]
    """
    answer = answer.strip()
    if alone := _ALONE.fullmatch(answer):
        return alone[1].upper()
    letters = set(_SENTENCE.findall(answer))
    if first := _FIRST.match(answer):
        letters.add(next(filter(None, first.groups())))
    return letters.pop() if len(letters) == 1 else None
