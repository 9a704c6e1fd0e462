"""Counts of n-grams, which BLEU and CIDEr compare."""

from __future__ import annotations

from collections import Counter

LONGEST = 4
"""Words in the longest n-gram."""

Words = tuple[str, ...]
Counts = Counter[Words]


def ngrams(words: Words, size: int) -> Counts:
    """Count the n-grams of one size.

    >>> ngrams(("a", "b", "a"), 1)[("a",)]
    2
    """
    return Counter(words[i : i + size] for i in range(len(words) - size + 1))
