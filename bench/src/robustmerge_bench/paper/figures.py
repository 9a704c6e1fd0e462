"""From sums over samples to a score, for many resampled sets at once.

Every figure is computed from sums over samples of the columns of `Score.rows`:

mean      one column, 0 to 100: its mean
points    two columns for each subtask: a sample's points, 0 to 200, and 1 where it is of the
          subtask; the sum over subtasks of the mean points. MME's
f1        three columns for each category: 1 for a true positive, a false positive, a false
          negative; the mean over categories of F1, times 100. POPE's
captions  12 columns: n-grams matched and made (4 + 4), words of the caption, words of the closest
          reference, ROUGE-L, CIDEr; and, where METEOR is known, 7 of `metrics.meteor.meteor_rows`;
          the mean of these metrics, each times 100

BLEU and METEOR of a set are no means over captions, but follow exactly from sums over them. CIDEr
weighs words by the references of the whole task, also where captions are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Num

from ..metrics.meteor import meteor

Sums = Float[np.ndarray, "draws columns"]
Statistic = Callable[[Sums, Num[np.ndarray, " draws"]], Float[np.ndarray, " draws"]]

_ORDERS = 4
_METEOR = 12  # its first column
_TINY, _SMALL = 1e-15, 1e-9  # the smoothing of metrics/bleu.py


def mean(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """Return the mean of the first column."""
    means: np.ndarray = sums[:, 0] / n
    return means


def points(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """Return the sum over subtasks of the mean points; one missing in a draw counts as the mean."""
    del n
    had, of = sums[:, 0::2], sums[:, 1::2]
    means = np.divide(had, of, out=np.zeros_like(had), where=of > 0)
    scores: np.ndarray = means.sum(axis=1) * of.shape[1] / np.maximum(1, (of > 0).sum(axis=1))
    return scores


def f1(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """Return the mean over categories of F1, times 100; 0 for one without a true positive."""
    del n
    hits, wrong = sums[:, 0::3], sums[:, 1::3] + sums[:, 2::3]
    whole = 2 * hits + wrong
    shares = np.divide(2 * hits, whole, out=np.zeros_like(hits), where=whole > 0)
    scores: np.ndarray = 100 * shares.mean(axis=1)
    return scores


def captions(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """Return the mean of BLEU-1 to 4, ROUGE-L, CIDEr and, if known, METEOR, each times 100."""
    score: np.ndarray = 100 * np.mean(list(caption_metrics(sums, n).values()), axis=0)
    return score


def caption_metrics(
    sums: Sums, n: Num[np.ndarray, " draws"]
) -> dict[str, Float[np.ndarray, " draws"]]:
    """Return every metric of sets of captions, by the names of the COCO caption evaluation."""
    metrics = {f"Bleu_{order}": scores for order, scores in enumerate(bleu(sums), start=1)}
    if sums.shape[1] > _METEOR:
        metrics["METEOR"] = meteor(sums[:, _METEOR:])
    return metrics | {"ROUGE_L": sums[:, 10] / n, "CIDEr": sums[:, 11] / n}


def bleu(sums: Sums) -> list[Float[np.ndarray, " draws"]]:
    """Return BLEU-1 to 4 of sets, each 0 to 1; the sums as in `metrics.bleu.Matches`."""
    matched, made = sums[:, :_ORDERS], sums[:, _ORDERS : 2 * _ORDERS]
    ratio = (sums[:, 8] + _TINY) / (sums[:, 9] + _SMALL)
    brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    precisions = np.cumprod((matched + _TINY) / (made + _SMALL), axis=1)
    return [brevity * precisions[:, i] ** (1 / (i + 1)) for i in range(_ORDERS)]


FIGURES: Mapping[str, Statistic] = MappingProxyType(
    {"mean": mean, "points": points, "f1": f1, "captions": captions}
)
