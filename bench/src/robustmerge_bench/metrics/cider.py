r"""CIDEr: the similarity of a caption to its references in n-grams weighted by rarity.

    CIDEr = 10 mean_n mean_references exp(-δ² / 2σ²) <min(g(c), g(r)), g(r)> / (|g(c)| |g(r)|)

g holds, for every n-gram (n = 1 to 4), how often it occurs, times log(images / images with it in a
reference): words that are in every image's references have no weight. δ is the difference of the
lengths in words, σ = 6. That is CIDEr-D, usually called CIDEr.

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

_SIGMA = 6.0  # words


def cider(captions: Sequence[tuple[Words, tuple[Words, ...]]]) -> list[float]:
    """Return CIDEr of each caption with its references, 0 to 10; the mean is CIDEr of the set."""
    references = [[_counts(r) for r in rs] for _, rs in captions]
    images = Counter(chain.from_iterable(set(chain.from_iterable(rs)) for rs in references))
    weights = {gram: math.log(len(captions)) - math.log(n) for gram, n in images.items()}
    unseen = math.log(len(captions)) if captions else 0.0
    scores = []
    for (caption, _), rs in zip(captions, references, strict=True):
        ours = _WeightedText.of(_counts(caption), weights, unseen)
        similarities = (ours.similarity(_WeightedText.of(r, weights, unseen)) for r in rs)
        scores.append(10 * math.fsum(similarities) / len(rs))
    return scores


def _counts(words: Words) -> Counts:
    """Count the n-grams of one to four words."""
    return sum((ngrams(words, n) for n in range(1, LONGEST + 1)), Counter())


@dataclass(frozen=True)
class _WeightedText:
    """A text as weights of its n-grams: high if other images' references do not have them.

    Attributes:
        weights: Of its n-grams, for n = 1 to 4.
        norms: Euclidean norms of these.
        length: Number of its words.
    """

    weights: tuple[dict[Words, float], ...]
    norms: tuple[float, ...]
    length: int

    @classmethod
    def of(cls, counts: Counts, weights: dict[Words, float], unseen: float) -> _WeightedText:
        parts: tuple[dict[Words, float], ...] = tuple({} for _ in range(LONGEST))
        for gram, n in counts.items():
            parts[len(gram) - 1][gram] = n * weights.get(gram, unseen)
        norms = tuple(math.sqrt(sum(x * x for x in part.values())) for part in parts)
        return cls(parts, norms, sum(n for gram, n in counts.items() if len(gram) == 1))

    def similarity(self, reference: _WeightedText) -> float:
        """Return the similarity to a reference, 0 to 1, the mean over n = 1 to 4."""
        total = 0.0
        parts = zip(self.weights, reference.weights, self.norms, reference.norms, strict=True)
        for ours, theirs, our_norm, their_norm in parts:
            if our_norm and their_norm:
                shared = sum(min(x, theirs[g]) * theirs[g] for g, x in ours.items() if g in theirs)
                total += shared / (our_norm * their_norm)
        difference = self.length - reference.length
        return math.exp(-(difference**2) / (2 * _SIGMA**2)) * total / LONGEST
