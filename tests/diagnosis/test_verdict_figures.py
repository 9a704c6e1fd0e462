"""Sentences and the figures they rest on, of a diagnosis whose figures are invented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from factories.diagnoses import LONG, invented
from robustmerge.diagnosis.tables import Diagnosis
from robustmerge.diagnosis.verdict import Level, verdict


def other(table: str, **figures: Any) -> Diagnosis:
    """The same with other figures in one table."""
    changed = tuple(replace(row, **figures) for row in getattr(invented(), table))
    return replace(invented(), **{table: changed})


def texts(found: Diagnosis, subject: str) -> list[str]:
    return [sentence.text for sentence in verdict(found) if sentence.subject == subject]


def test_every_sentence_rests_on_the_figures_it_names() -> None:
    wanted: list[tuple[str, Level, str, Mapping[str, float]]] = [
        ("together", "bad", "vqa and cap fight:", {
            "least cosine": -0.125, "greatest cosine": 0.3}),
        ("factors", "note", "Prefer methods on the updates", {
            "cosine": 0.6, "cross over own energy": 2.5}),
        ("sizes", "note", "cap is 3.0 times as large as vqa", {"ratio of norms": 3}),
        ("start", "note", "Begin with -m task-arithmetic", {
            "energy at input rank": 0.6, "rank for 99%": 8}),
        ("start", "note", "Input rank keeps 60%", {
            "energy at input rank": 0.6, "rank for 99%": 8}),
        ("sum", "bad", "Left out: cap.", {"cap": 0.2}),
        (LONG, "bad", "Probably too large: it has 1.2 of each adapter. Try it at scales of 0.34 "
            "to 1.", {"mean coefficient": 1.2, "energy of the adapters": 0.1, "of nobody": 0.7}),
        ("merges", "note", "Of these merges, put to a fair scale, try first: sum.", {
            "answer of sum": 0.9, f"answer of {LONG}": 0.8}),
    ]  # fmt: skip
    found = verdict(invented())
    assert [(s.subject, s.level) for s in found] == [row[:2] for row in wanted]
    for sentence, (*_, start, evidence) in zip(found, wanted, strict=True):
        assert sentence.text.startswith(start)
        assert sentence.evidence == pytest.approx(evidence)


def test_merges_whose_answers_are_close_come_together_the_best_first() -> None:
    rows = tuple(
        replace(row, answer=0.8 if row.merged == "sum" else 0.78) for row in invented().directions
    )
    (text,) = texts(replace(invented(), directions=rows), "merges")
    assert text.endswith(f"try first: sum, {LONG}.")


def test_a_merge_against_its_adapters_is_neither_small_nor_without_one() -> None:
    (text,) = texts(other("kept", coefficient=-0.5), "sum")
    assert text == "It runs against its adapters: it has -0.5 of each."


def test_adapters_without_a_module_in_common() -> None:
    found = other("pairs", inputs=None, inputs_chance=None, A_cosine=None)
    assert texts(found, "factors")[0].endswith("A's are of different modules, and not closely.")


def test_factors_as_near_as_on_the_laptop_benchmark_may_be_merged() -> None:
    (text,) = texts(other("apart", cosine=0.88), "factors")
    assert "merge what they should" in text


def test_of_one_adapter_only_its_merges_are_judged() -> None:
    tables = ("spectra", "kept", "directions")
    ours = {
        name: tuple(
            row
            for row in getattr(invented(), name)
            if getattr(row, "adapter", None) == "vqa" or getattr(row, "kind", None) == "merge"
        )
        for name in tables
    }
    found = verdict(replace(invented(), adapters=("vqa",), **ours))
    assert [s.subject for s in found] == []
    loud = tuple(replace(row, coefficient=2.0) for row in ours["kept"])
    found = verdict(replace(invented(), adapters=("vqa",), **{**ours, "kept": loud}))
    assert [s.subject for s in found] == ["sum", LONG]
