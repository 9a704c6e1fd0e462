"""From sums over samples to a score, for many resampled sets at once.

mean      one column, 0 to 100: its mean
total     one column: its sum; MME's points, of which every sample brings its share
captions  14 columns: n-grams found and made (4 + 4), words of the caption, words of the closest
          reference, ROUGE-L, CIDEr, METEOR, whether METEOR is known; the mean of these metrics,
          each times 100
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Num

Sums = Float[np.ndarray, "draws columns"]
Figure = Callable[[Sums, Num[np.ndarray, " draws"]], Float[np.ndarray, " draws"]]

_ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  # the smoothing of metrics/bleu.py


def mean(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """The mean of the first column."""
    means: np.ndarray = sums[:, 0] / n
    return means


def total(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """The sum of the first column."""
    del n
    return sums[:, 0]


def captions(sums: Sums, n: Num[np.ndarray, " draws"]) -> Float[np.ndarray, " draws"]:
    """The mean of BLEU-1 to 4, ROUGE-L, CIDEr and, where it is known, METEOR, each times 100."""
    metrics = [*bleu(sums), *(sums[:, 10:12] / n[:, None]).T]
    if (sums[:, 13] == n).all():
        metrics.append(sums[:, 12] / n)
    score: np.ndarray = 100 * np.mean(metrics, axis=0)
    return score


def bleu(sums: Sums) -> list[Float[np.ndarray, " draws"]]:
    """BLEU-1 to 4 of sets, each 0 to 1; the sums as in `metrics.bleu.Matches`."""
    found, made = sums[:, :_ORDERS], sums[:, _ORDERS : 2 * _ORDERS]
    ratio = (sums[:, 8] + _TINY) / (sums[:, 9] + _SMALL)
    brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    precisions = np.cumprod((found + _TINY) / (made + _SMALL), axis=1)
    return [brevity * precisions[:, i] ** (1 / (i + 1)) for i in range(_ORDERS)]


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {"mean": mean, "total": total, "captions": captions}
)
