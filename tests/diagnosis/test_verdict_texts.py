"""The texts of the verdict: one golden list, and rules that every text keeps."""

from __future__ import annotations

import ast
import inspect
import string

import pytest

from robustmerge.diagnosis import verdict
from robustmerge.diagnosis.verdict_texts import EVIDENCE, INITIALIZATIONS, SENTENCES, SUBJECTS

FIGURES = {
    "adapters": "ocr, rec",
    "cosine": -0.25,
    "first": "vqa",
    "gain": 3.0,
    "initialization": "share an initialization",
    "kept": 0.873,
    "largest": "ocr",
    "least": 0.35,
    "mean": 1.25,
    "merges": "ties, sum",
    "most": 1.0,
    "options": "-m drift --rank full",
    "outside": 0.831,
    "rank": 24.0,
    "ratio": 2.5,
    "second": "ocr",
    "smallest": "vqa",
}
GOLDEN = {
    "zero_updates": "No update at all: ocr, rec. It counts as an adapter all the same, so that a "
    "mean shrinks the others; leave it out, or use another checkpoint.",
    "at_most_one_update": "All but one of the updates are zero.",
    "opposing_updates": "vqa and ocr oppose each other (cosine -0.25): a sum cancels part of both.",
    "duplicate_updates": "vqa and ocr are nearly the same update (cosine -0.25), so a sum contains "
    "it twice. Halve their weights.",
    "compatible_updates": "These adapters can be merged: no two updates oppose each other, so a "
    "sum contains all of them.",
    "factor_wise_works": "Factor-wise methods (robustmerge, average, ties on factors) are possible "
    "here: the A's share an initialization, and the product of summed factors is close to the sum "
    "of updates, only 3 times too large.",
    "factor_wise_risky": "Prefer methods that merge updates over factor-wise ones: the A's share "
    "an initialization, and cross terms would be a large part of the result.",
    "factor_wise_fails": "Do not merge A and B separately (robustmerge, average, peft-linear): the "
    "A's share an initialization, and most of the result would be cross terms between adapters.",
    "uneven_norms": "ocr is 2.5 times as large as vqa and dominates the sum; --balance norms makes "
    "their sizes more equal.",
    "suggested_method": "Start with -m drift --rank full. Rank 24 is enough for 99% of a sum's "
    "energy.",
    "input_rank_suffices": "Input rank keeps 87% of a sum's energy, which is usually enough.",
    "input_rank_costs": "Input rank keeps only 87% of a sum's energy, which can cost accuracy: "
    "try the largest rank that you can serve. -m drift loses least there, since it fits the rank "
    "instead of cutting to it.",
    "zero_merge": "The merged update is zero.",
    "too_small": "Probably too small: the mean coefficient of its adapters is 1.2. Try multiplying "
    "it by 0.35 to 1.",
    "too_large": "Probably too large: the mean coefficient of its adapters is 1.2. Try multiplying "
    "it by 0.35 to 1.",
    "anti_correlated": "It is anti-correlated with its adapters (mean coefficient 1.2).",
    "unattributed_energy": "83% of its energy is unattributed: in no adapter's directions.",
    "adapters_left_out": "It retains little of ocr, rec: less than half of the mean coefficient.",
    "try_first": "Of these merges, each at a suitable scale, try first: ties, sum.",
}


def test_texts() -> None:
    assert {code: s.text.format(**FIGURES) for code, s in SENTENCES.items()} == GOLDEN


def test_initializations() -> None:
    assert INITIALIZATIONS == {
        "shared": "share an initialization",
        "rotated": "have one row space in different coordinates",
        "independent": "are unrelated",
        "unclear": "are neither alike nor unrelated",
        "mixed": "share an initialization in some adapters only",
        None: "cannot be compared",
    }


@pytest.mark.parametrize("code", SENTENCES)
def test_a_text_is_a_sentence_with_named_figures(code: str) -> None:
    assert SENTENCES[code].text.endswith(".")
    names = {name for _, name, _, _ in string.Formatter().parse(SENTENCES[code].text) if name}
    assert names <= set(FIGURES)


def test_every_text_and_every_label_is_used() -> None:
    strings = {
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(verdict)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(SENTENCES) <= strings
    assert set(EVIDENCE) <= strings
    assert set(SUBJECTS) <= strings
