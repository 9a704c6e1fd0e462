"""Caption metrics by hand and by slow definitions of what pycocoevalcap 1.2 computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from robustmerge.errors import MergeError
from robustmerge_bench.metrics import caption_metrics, sentence_score
from robustmerge_bench.metrics.bleu import Matches, bleu
from robustmerge_bench.metrics.cider import cider
from robustmerge_bench.metrics.ngrams import Words
from robustmerge_bench.metrics.ptb import words
from robustmerge_bench.metrics.rouge import rouge_l

Pair = tuple[Words, tuple[Words, ...]]
WORD = st.sampled_from("abc")
CAPTION = st.lists(WORD, max_size=7).map(tuple)
REFERENCE = st.lists(WORD, min_size=1, max_size=7).map(tuple)
PAIR = st.tuples(CAPTION, st.lists(REFERENCE, min_size=1, max_size=3).map(tuple))


def runs(text: Words, n: int) -> list[Words]:
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def slow_bleu(pairs: Sequence[Pair], n: int) -> float:
    """BLEU-n, with the smoothing of the COCO evaluation."""
    product, length, wanted = 1.0, 0, 0
    for order in range(1, n + 1):
        found = total = 0
        for caption, references in pairs:
            for run in set(runs(caption, order)):
                most = max(runs(r, order).count(run) for r in references)
                found += min(most, runs(caption, order).count(run))
            total += len(runs(caption, order))
        product *= (found + 1e-15) / (total + 1e-9)
    for caption, references in pairs:
        length += len(caption)
        wanted += sorted((abs(len(r) - len(caption)), len(r)) for r in references)[0][1]
    ratio = (length + 1e-15) / (wanted + 1e-9)
    return math.exp(min(0.0, 1 - 1 / ratio)) * float(product ** (1 / n))


def slow_rouge(caption: Words, references: tuple[Words, ...]) -> float:
    def common(a: Words, b: Words) -> int:
        subsequences = {s for k in range(len(b) + 1) for s in combinations(b, k)}
        return max(k for k in range(len(a) + 1) for s in combinations(a, k) if s in subsequences)

    if not caption:
        return 0.0
    p = max(common(caption, r) / len(caption) for r in references)
    r = max(common(caption, r) / len(r) for r in references)
    return (1 + 1.44) * p * r / (r + 1.44 * p) if p else 0.0


def slow_cider(pairs: Sequence[Pair]) -> list[float]:
    def vector(text: Words, known: list[Words], n: int) -> np.ndarray:
        images = [sum(any(g in runs(r, n) for r in rs) for _, rs in pairs) for g in known]
        idf = [math.log(len(pairs) / max(1, count)) for count in images]
        return np.array([runs(text, n).count(g) for g in known]) * idf

    scores = []
    for caption, references in pairs:
        score = 0.0
        for r in references:
            bigrams = len(runs(caption, 2)) - len(runs(r, 2))
            for n in (1, 2, 3, 4):
                known = sorted({*runs(caption, n), *runs(r, n)})
                c, v = vector(caption, known, n), vector(r, known, n)
                norms = float(np.linalg.norm(c) * np.linalg.norm(v))
                if norms:
                    likeness = float(np.minimum(c, v) @ v) / norms
                    score += likeness * math.exp(-(bigrams**2) / 72)
        scores.append(10 * score / 4 / len(references))
    return scores


def split(text: str) -> Words:
    return tuple(text.split())


def test_bleu_by_hand() -> None:
    """5 of 6 words, 3 of 5 pairs, 1 of 4 triples, no four; as long as the reference."""
    caption, reference = split("the cat sat on the mat"), split("the cat is on the mat")
    one, two, three, four = Matches.of(caption, (reference,)).bleu()
    expected = (5 / 6, (5 / 6 * 3 / 5) ** (1 / 2), (5 / 6 * 3 / 5 * 1 / 4) ** (1 / 3))
    assert (one, two, three) == pytest.approx(expected, rel=1e-8)
    # 1e-15 of 3 + 1e-9 takes the place of an empty precision
    assert four == pytest.approx((5 / 6 * 3 / 5 * 1 / 4 * 1e-15 / 3) ** (1 / 4), rel=1e-8)


def test_bleu_counts_a_word_as_often_as_one_reference_has_it() -> None:
    seven = split("the the the the the the the")
    references = (split("the cat is on the mat"), split("there is a cat on the mat"))
    assert Matches.of(seven, references).bleu()[0] == pytest.approx(2 / 7, rel=1e-8)


def test_bleu_of_a_short_caption_and_of_a_set() -> None:
    """Closest reference: of 3 and 5 words the shorter is taken for 4; brevity exp(1 - 6 / 4)."""
    long, short = split("a b c d e f"), split("a b c d")
    assert Matches.of(short, (long,)).bleu()[3] == pytest.approx(math.exp(-0.5), rel=1e-8)
    assert Matches.of(short, (split("a b c"), split("a b c d e"))).closest == 3
    # together: 4 of 5 words, 5 long, references 6 + 1
    together = bleu([(short, (long,)), (split("x"), (split("y"),))])
    assert together[0] == pytest.approx(math.exp(1 - 7 / 5) * 4 / 5, rel=1e-8)


def test_rouge_by_hand() -> None:
    """The cat .. on the mat: 5 of 6 and 5 of 7; then precision and recall from two references."""
    caption, reference = split("the cat sat on the mat"), split("the cat is now on the mat")
    p, r = 5 / 6, 5 / 7
    assert rouge_l(caption, (reference,)) == pytest.approx(2.44 * p * r / (r + 1.44 * p), rel=1e-14)
    both = (split("the cat"), split("a the b cat c sat d on e the f mat"))  # recall 1, precision 1
    assert rouge_l(caption, both) == pytest.approx(1)
    assert rouge_l(split("a b"), (split("c d"),)) == 0


def test_cider_by_hand() -> None:
    """Two images, one reference each, equal captions: 10 for each of the four orders there are."""
    pairs = [(split("a b c d"), (split("a b c d"),)), (split("x y"), (split("x y"),))]
    assert cider(pairs) == pytest.approx([10, 5])  # x y has neither triples nor fours
    # `a` is in both: it tells nothing. b of (b), and a b of (a b), one too long: exp(-1/72)
    pairs = [(split("a b b"), (split("a b"),)), (split("a"), (split("a"),))]
    words_, pairs_ = 1 / 2 * 2, 1 / math.sqrt(2)  # <min(2, 1), 1> / (2 · 1) = 1/2
    expected = 10 / 4 * math.exp(-1 / 72) * (words_ / 2 + pairs_)
    assert cider(pairs) == pytest.approx([expected, 0])
    assert cider([(split("a b"), (split("a b"),))]) == [0]  # one image alone: nothing is telling


@given(st.lists(PAIR, min_size=1, max_size=5))
def test_captions_by_their_definitions(pairs: list[Pair]) -> None:
    assert bleu(pairs) == pytest.approx([slow_bleu(pairs, n) for n in (1, 2, 3, 4)], abs=1e-12)
    for pair in pairs:
        alone = [slow_bleu([pair], n) for n in (1, 2, 3, 4)]
        assert Matches.of(*pair).bleu() == pytest.approx(alone, abs=1e-12)
        assert rouge_l(*pair) == pytest.approx(slow_rouge(*pair), abs=1e-12)
    assert cider(pairs) == pytest.approx(slow_cider(pairs), abs=1e-12)


def test_a_whole_task_is_cut_into_words_first() -> None:
    captions = (
        ("A man's dog.", ("a man 's dog", "The dog of a man!")),
        ("Two (2) cats", ("two cats -- 2",)),
        ("", ("red",)),
    )
    cut = [(words(answer), tuple(map(words, refs))) for answer, refs in captions]
    scores = caption_metrics(captions)
    assert list(scores) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert list(scores.values())[:4] == pytest.approx([slow_bleu(cut, n) for n in (1, 2, 3, 4)])
    assert scores["ROUGE_L"] == pytest.approx(sum(slow_rouge(*pair) for pair in cut) / 3)
    assert scores["CIDEr"] == pytest.approx(sum(slow_cider(cut)) / 3)
    assert scores["ROUGE_L"] > 0.3


@given(st.lists(st.sampled_from(["red", "dog", "on", "cat's"]), min_size=1, max_size=8))
def test_a_perfect_caption_gets_100(perfect: list[str]) -> None:
    text = " ".join(perfect)
    assert sentence_score(f" {text.upper()} .", (text, "dog")) == pytest.approx(100, abs=1e-4)


@given(CAPTION, REFERENCE)
def test_no_other_caption_does(caption: Words, reference: Words) -> None:
    score = sentence_score(" ".join(caption), (" ".join(reference),))
    assert 0 <= score <= 100
    assert (score > 99.9) == (caption == reference)


def test_one_caption_by_hand() -> None:
    answer, reference = "The cat sat on the mat.", "the cat is on the mat"
    pair = (words(answer), (words(reference),))
    mean = (sum(slow_bleu([pair], n) for n in (1, 2, 3, 4)) + slow_rouge(*pair)) / 5
    assert sentence_score(answer, (reference,)) == pytest.approx(100 * mean, rel=1e-12)
    # a reference of two words has no BLEU-3: 1 of 2 words, none of 1 pair, half of the sequence
    short = 100 / 3 * (0.5 + math.sqrt(0.5 * 1e-15) + 0.5)
    assert sentence_score("red dog", ("red cat",)) == pytest.approx(short, rel=1e-6)


@pytest.mark.parametrize("answer", ["", " ", ".", "?", "''", "\n"])
def test_an_empty_caption_is_worth_nothing(answer: str) -> None:
    assert sentence_score(answer, ("a dog", "")) == 0
    scores = caption_metrics([(answer, ("a dog",)), (answer, ("cat",))])
    assert list(scores.values()) == pytest.approx([0] * 6, abs=1e-6)


def test_nothing_to_compare_with() -> None:
    with pytest.raises(MergeError, match="no captions"):
        caption_metrics([])
    with pytest.raises(MergeError, match="'a dog' has no reference"):
        caption_metrics([("a cat", ("a cat",)), ("a dog", ())])
    with pytest.raises(MergeError, match="'a dog' has no reference"):
        sentence_score("a dog", (".",))
