"""Captions compared with those that annotators wrote.

`caption_metrics` gives the metrics of the COCO caption evaluation for a set: BLEU and CIDEr are not
means over captions, so no interval follows from resampled scores. `sentence_score` is a score of
one caption, for comparisons of methods item by item. METEOR and SPICE require Java and are not
computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from robustmerge.errors import MergeError

from .bleu import Matches, bleu
from .cider import cider
from .ngrams import LONGEST
from .ptb import words
from .rouge import rouge_l

Caption = tuple[str, tuple[str, ...]]
"""An answer and its references."""


def sentence_score(answer: str, references: tuple[str, ...]) -> float:
    """Return the mean of a caption's BLEU-1 to 4 and ROUGE-L, 0 to 100; 0 for an empty answer.

    BLEU counts up to the length of the reference closest in length: one of two words has no BLEU-3.
    So a caption equal to a reference gets 100, except for the smoothing (1e-6).
    """
    _check(((answer, references),))
    caption, texts = words(answer), tuple(map(words, references))
    matches = Matches.of(caption, texts)
    orders = min(LONGEST, matches.closest)
    scores = [*matches.bleu()[:orders], rouge_l(caption, texts)]
    return 100 * fsum(scores) / len(scores)


def caption_metrics(captions: Sequence[Caption]) -> dict[str, float]:
    """Return the metrics of a set of captions, by the names of the COCO caption evaluation.

    Args:
        captions: The answer and the references of every image, all of the set: the weights of
            CIDEr come from all references.

    Returns:
        Bleu_1, Bleu_2, Bleu_3, Bleu_4 and ROUGE_L, each 0 to 1, and CIDEr, 0 to 10.
    """
    _check(captions)
    cut = [(words(answer), tuple(map(words, references))) for answer, references in captions]
    scores = {f"Bleu_{n}": score for n, score in enumerate(bleu(cut), start=1)}
    scores["ROUGE_L"] = fsum(rouge_l(*caption) for caption in cut) / len(cut)
    scores["CIDEr"] = fsum(cider(cut)) / len(cut)
    return scores


def _check(captions: Sequence[Caption]) -> None:
    """Check that every caption has a reference."""
    bare = [answer for answer, references in captions if not any(map(words, references))]
    if captions and not bare:
        return
    raise MergeError(
        f"the caption {bare[0]!r} has no reference" if bare else "there are no captions",
        where="the answers of the task",
        hint="give at least one reference with a word in it for every image",
    )
