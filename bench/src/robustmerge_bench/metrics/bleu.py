r"""BLEU-1 to BLEU-4: the share of a caption's n-grams that occur in a reference.

    BLEU-N = min(1, exp(1 - r / c)) (Π_{n ≤ N} p_n)^(1/N)

where p_n is the share of the captions' n-grams that are in a reference (each counted at most as
often as it occurs there), c the captions' length and r that of the reference closest in length, the
shorter of two as close. All four are sums over the captions before they are divided, so that the
BLEU of a set is not the mean of its captions'.

Source: Papineni et al., ACL 2002; the smoothing (1e-15 over 1e-9, which makes an empty precision
1e-6) is that of pycocoevalcap 1.2, so that figures are those of the COCO caption evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .ngrams import LONGEST, Words, ngrams

_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's, against division by zero

Bleu = tuple[float, float, float, float]


@dataclass(frozen=True)
class Matches:
    """The counts of BLEU in one caption, or in many together.

    Attributes:
        matched: N-grams of the caption that a reference has, for n = 1 to 4.
        total: N-grams of the caption.
        length: Words of the caption.
        closest: Words of the reference closest in length.
    """

    matched: tuple[int, ...] = (0,) * LONGEST
    total: tuple[int, ...] = (0,) * LONGEST
    length: int = 0
    closest: int = 0

    @classmethod
    def of(cls, caption: Words, references: tuple[Words, ...]) -> Matches:
        """Count one caption against its references."""
        matched = []
        for size in range(1, LONGEST + 1):
            most = ngrams((), size)
            for reference in references:
                most |= ngrams(reference, size)
            matched.append((ngrams(caption, size) & most).total())
        length = len(caption)
        closest = min((abs(len(r) - length), len(r)) for r in references)[1]
        total = tuple(max(0, length - size) for size in range(LONGEST))
        return cls(tuple(matched), total, length, closest)

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            tuple(a + b for a, b in zip(self.matched, other.matched, strict=True)),
            tuple(a + b for a, b in zip(self.total, other.total, strict=True)),
            self.length + other.length,
            self.closest + other.closest,
        )

    def bleu(self) -> Bleu:
        """Return BLEU-1, -2, -3, -4, each 0 to 1."""
        ratio = (self.length + _TINY) / (self.closest + _SMALL)
        brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        product, scores = 1.0, []
        for n, (matched, total) in enumerate(zip(self.matched, self.total, strict=True), start=1):
            product *= (matched + _TINY) / (total + _SMALL)
            scores.append(brevity * product ** (1 / n))
        return scores[0], scores[1], scores[2], scores[3]


def bleu(captions: Iterable[tuple[Words, tuple[Words, ...]]]) -> Bleu:
    """Return BLEU-1, -2, -3, -4 of captions with their references, together; each 0 to 1."""
    return sum((Matches.of(c, references) for c, references in captions), Matches()).bleu()
