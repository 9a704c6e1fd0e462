"""Sentences and the figures they rest on, for a diagnosis with invented figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from factories.diagnoses import LONG, invented
from robustmerge.diagnosis.tables import Diagnosis
from robustmerge.diagnosis.verdict import Sentence, make_verdict
from robustmerge.diagnosis.verdict_texts import INITIALIZATIONS, Level


def changed(table: str, **figures: Any) -> Diagnosis:
    """Return the invented diagnosis with other figures in one table."""
    rows = tuple(replace(row, **figures) for row in getattr(invented(), table))
    return replace(invented(), **{table: rows})


def sentence_about(diagnosis: Diagnosis, subject: str) -> Sentence:
    (sentence,) = (s for s in make_verdict(diagnosis) if s.subject == subject)
    return sentence


def test_every_sentence_rests_on_the_figures_it_names() -> None:
    expected: list[tuple[str, str, Level, Mapping[str, float]]] = [
        ("together", "opposing_updates", "bad", {
            "least cosine": -0.125, "greatest cosine": 0.3}),
        ("factors", "factor_wise_risky", "note", {
            "cosine": 0.6, "cross over own energy": 2.5}),
        ("sizes", "uneven_norms", "note", {"ratio of norms": 3}),
        ("start", "suggested_method", "note", {
            "energy at input rank": 0.6, "rank for 99%": 8}),
        ("start", "input_rank_costs", "note", {
            "energy at input rank": 0.6, "rank for 99%": 8}),
        ("sum", "adapters_left_out", "bad", {"cap": 0.2}),
        (LONG, "too_large", "bad", {
            "mean coefficient": 1.2, "energy of the adapters": 0.1, "of nobody": 0.7}),
        ("merges", "try_first", "note", {"answer of sum": 0.9, f"answer of {LONG}": 0.8}),
    ]  # fmt: skip
    verdict = make_verdict(invented())
    assert [(s.subject, s.code, s.level) for s in verdict] == [row[:3] for row in expected]
    for sentence, (*_, evidence) in zip(verdict, expected, strict=True):
        assert sentence.evidence == pytest.approx(evidence)


def test_merges_whose_answers_are_close_come_together_the_best_first() -> None:
    rows = tuple(
        replace(row, answer=0.8 if row.merged == "sum" else 0.78) for row in invented().directions
    )
    text = sentence_about(replace(invented(), directions=rows), "merges").text
    assert text.endswith(f"try first: sum, {LONG}.")


def test_an_anti_correlated_merge_is_neither_too_small_nor_without_an_adapter() -> None:
    assert sentence_about(changed("kept", coefficient=-0.5), "sum").code == "anti_correlated"


def test_adapters_without_a_module_in_common() -> None:
    diagnosis = changed("pairs", inputs=None, inputs_chance=None, A_cosine=None)
    assert INITIALIZATIONS[None] in sentence_about(diagnosis, "factors").text


def test_factors_as_close_as_on_the_laptop_benchmark_can_be_merged() -> None:
    assert sentence_about(changed("apart", cosine=0.88), "factors").code == "factor_wise_works"


def test_with_one_adapter_only_its_merges_are_judged() -> None:
    tables = ("spectra", "kept", "directions")
    rows = {
        name: tuple(
            row
            for row in getattr(invented(), name)
            if getattr(row, "adapter", None) == "vqa" or getattr(row, "kind", None) == "merge"
        )
        for name in tables
    }
    assert make_verdict(replace(invented(), adapters=("vqa",), **rows)) == ()
    large = tuple(replace(row, coefficient=2.0) for row in rows["kept"])
    verdict = make_verdict(replace(invented(), adapters=("vqa",), **{**rows, "kept": large}))
    assert [(s.subject, s.code) for s in verdict] == [("sum", "too_large"), (LONG, "too_large")]
