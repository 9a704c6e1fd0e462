"""Exact match: the same words, ignoring case, spacing and a period at the end."""

from __future__ import annotations


def exact_match(answer: str, references: tuple[str, ...]) -> float:
    """Return 100 if an answer is one of the references, else 0, also for an empty answer.

    >>> exact_match(" Red  car.", ("red car",))
    100.0
    """
    text = normalized(answer)
    return 100.0 if text and text in map(normalized, references) else 0.0


def normalized(text: str) -> str:
    """Return a text in lower case, with single spaces, without one period at its end.

    >>> normalized("A  Zebra .")
    'a zebra'
    """
    return " ".join(text.lower().split()).removesuffix(".").rstrip()
