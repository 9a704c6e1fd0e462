"""Runs of words, counted: what BLEU and CIDEr compare."""

from __future__ import annotations

from collections import Counter

LONGEST = 4
"""Words in the longest run that either looks at."""

Words = tuple[str, ...]
Counts = Counter[Words]


def ngrams(words: Words, size: int) -> Counts:
    """How often each run of so many words occurs.

    >>> ngrams(("a", "b", "a"), 1)[("a",)]
    2
    """
    return Counter(words[i : i + size] for i in range(len(words) - size + 1))
