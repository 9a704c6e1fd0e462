r"""METEOR: words in common with a reference, also by stem, synonym or paraphrase, and their order.

    METEOR = F (1 - γ (chunks / matched)^β),   F = P R / (α P + (1 - α) R)

with α = 0.85, β = 0.2, γ = 0.6. P is the weight of the caption's matched words over that of all its
words, R the same of the reference. A word weighs δ = 0.75 if it has content and 1 - δ if it is a
function word, times 1, 0.6, 0.8 or 0.6 if matched as it is, by stem, as a synonym or within a
paraphrase. All are sums over the captions before they are divided, so that METEOR of a set is not
the mean of its captions'. A caption that is its reference counts as no chunk.

The Java program finds the words that match (`java.count_matches`); the score is computed from its
counts here, since resampled sets need it again.

Source: Denkowski and Lavie, Meteor Universal, WMT 2014; METEOR 1.5, whose corpus scores these are
to 1e-15.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

COLUMNS = 7  # of `meteor_rows`
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # as it is, by stem, synonym, paraphrase


def meteor_rows(counts: Sequence[Sequence[float]]) -> Float[np.ndarray, "captions 7"]:
    """Return the numbers whose sums over a set give its METEOR.

    Args:
        counts: METEOR's 23 counts of each caption: words of caption and reference; function words
            of both; for each of the four ways to match, matched content words of caption and
            reference and matched function words of both; chunks; matched words of both.

    Returns:
        Weight of the caption's matched words, and of all its words; the same of the reference;
        chunks; matched words of the caption, and of the reference.
    """
    table = np.array(counts, float).reshape(-1, 23)
    words, function = table[:, 0:2], table[:, 2:4]
    ways = table[:, 4:20].reshape(-1, 4, 4)  # [captions, way to match, words]
    weight = _WEIGHTS @ (_DELTA * ways[:, :, 0:2] + (1 - _DELTA) * ways[:, :, 2:4])
    total = _DELTA * (words - function) + (1 - _DELTA) * function
    chunks, matched = table[:, 20], table[:, 21:23]
    same = (chunks == 1) & (matched == words).all(axis=1)
    pieces = np.where(same, 0, chunks)
    return np.column_stack([weight[:, 0], total[:, 0], weight[:, 1], total[:, 1], pieces, matched])


def meteor(sums: Float[np.ndarray, "sets 7"]) -> Float[np.ndarray, " sets"]:
    """Return METEOR of sets, each 0 to 1, from the sums of their `meteor_rows`."""
    hit, words, recalled, wanted, chunks, ours, theirs = sums.T
    some = (hit > 0) & (recalled > 0)
    precision, recall = _share(hit, words, some), _share(recalled, wanted, some)
    f = _share(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall, some)
    pieces = _share(2 * chunks, ours + theirs, some)
    score: np.ndarray = f * (1 - _GAMMA * pieces**_BETA)
    return score


def _share(
    part: Float[np.ndarray, " sets"], whole: Float[np.ndarray, " sets"], some: np.ndarray
) -> Float[np.ndarray, " sets"]:
    share: np.ndarray = np.divide(part, whole, out=np.zeros_like(part), where=some)
    return share
