"""Exact match: the same words, whatever the case, the spacing and a period at the end."""

from __future__ import annotations


def exact_match(answer: str, references: tuple[str, ...]) -> float:
    """Whether an answer is one of the references: 100 or 0, and 0 for an empty answer.

    >>> exact_match(" Red  car.", ("red car",))
    100.0
    """
    said = normalized(answer)
    return 100.0 if said and said in map(normalized, references) else 0.0


def normalized(text: str) -> str:
    """A text in lower case, its white space single spaces, without one period at its end.

    >>> normalized("A  Zebra .")
    'a zebra'
    """
    return " ".join(text.lower().split()).removesuffix(".").rstrip()
