r"""ROUGE-L: the longest common subsequence of words of a caption and a reference.

    F = (1 + β²) P R / (R + β² P),   β = 1.2

P is the length of the longest common subsequence as a share of the caption, R as a share of the
reference. With several references the best P and the best R are taken, also from two references.

Source: Lin, ROUGE, ACL workshop 2004; β and the two maxima are those of pycocoevalcap 1.2.
"""

from __future__ import annotations

from .ngrams import Words

_BETA2 = 1.2**2


def rouge_l(caption: Words, references: tuple[Words, ...]) -> float:
    """Return ROUGE-L of one caption, 0 to 1; 0 for an empty one."""
    references = tuple(filter(None, references))
    if not caption or not references:
        return 0.0
    common = [_common_length(caption, reference) for reference in references]
    precision = max(common) / len(caption)
    recall = max(n / len(r) for n, r in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + _BETA2) * precision * recall / (recall + _BETA2 * precision)


def _common_length(a: Words, b: Words) -> int:
    """Return the length of the longest common subsequence."""
    above = [0] * (len(b) + 1)  # lengths for the words of `a` so far and the first of `b`
    for word in a:
        row = [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        above = row
    return above[-1]
