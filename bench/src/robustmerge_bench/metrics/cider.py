r"""CIDEr: how much of what is telling in the references a caption says.

    CIDEr = 10 mean_n mean_references exp(-δ² / 2σ²) <min(g(c), g(r)), g(r)> / (|g(c)| |g(r)|)

g holds, for every n-gram (n = 1 to 4), how often it occurs, times log(images / images with it in a
reference): words that are in every image's references count nothing. δ is the difference of the
lengths in words, σ = 6. That is CIDEr-D, which everybody calls CIDEr.

The weights come from the references of all images together: the score of a caption depends on the
set it is in, and a set of one image scores 0.

Source: Vedantam et al., CIDEr, arXiv:1411.5726; as in pycocoevalcap 1.2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from .ngrams import LONGEST, Counts, Words, ngrams

_SIGMA = 6.0


def cider(captions: Sequence[tuple[Words, tuple[Words, ...]]]) -> list[float]:
    """CIDEr of each caption with its references, 0 to 10; their mean is CIDEr of the set."""
    references = [[_counts(r) for r in rs] for _, rs in captions]
    images = Counter(chain.from_iterable(set(chain.from_iterable(rs)) for rs in references))
    weights = {gram: math.log(len(captions)) - math.log(n) for gram, n in images.items()}
    unseen = math.log(len(captions)) if captions else 0.0
    scores = []
    for (caption, _), rs in zip(captions, references, strict=True):
        ours = _Telling.of(_counts(caption), weights, unseen)
        like = (ours.likeness(_Telling.of(r, weights, unseen)) for r in rs)
        scores.append(10 * math.fsum(like) / len(rs))
    return scores


def _counts(words: Words) -> Counts:
    """How often each run of one to four words occurs."""
    return sum((ngrams(words, n) for n in range(1, LONGEST + 1)), Counter())


@dataclass(frozen=True)
class _Telling:
    """A text as what it says that others do not.

    Attributes:
        weights: Of its runs of n words, for n = 1 to 4.
        norms: Euclidean norms of these.
        length: Its words.
    """

    weights: tuple[dict[Words, float], ...]
    norms: tuple[float, ...]
    length: int

    @classmethod
    def of(cls, counts: Counts, weights: dict[Words, float], unseen: float) -> _Telling:
        parts: tuple[dict[Words, float], ...] = tuple({} for _ in range(LONGEST))
        for gram, n in counts.items():
            parts[len(gram) - 1][gram] = n * weights.get(gram, unseen)
        norms = tuple(math.sqrt(sum(x * x for x in part.values())) for part in parts)
        return cls(parts, norms, sum(n for gram, n in counts.items() if len(gram) == 1))

    def likeness(self, reference: _Telling) -> float:
        """How much of a reference this says, 0 to 1, mean over the lengths of runs."""
        total = 0.0
        parts = zip(self.weights, reference.weights, self.norms, reference.norms, strict=True)
        for ours, theirs, our_norm, their_norm in parts:
            if our_norm and their_norm:
                shared = sum(min(x, theirs[g]) * theirs[g] for g, x in ours.items() if g in theirs)
                total += shared / (our_norm * their_norm)
        apart = self.length - reference.length
        return math.exp(-(apart**2) / (2 * _SIGMA**2)) * total / LONGEST
