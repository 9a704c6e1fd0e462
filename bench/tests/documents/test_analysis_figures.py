"""docs/analysis.md: which figures go into which correlation, table and picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis_parts import charts, paper_claims, prediction, rank_correlation as rho, scale_rules
from analysis_parts.benchmark_scores import MeasuredMerge
from analysis_parts.diagnosed_merges import DiagnosedMerge, MergeId
from factories.diagnoses import invented
from robustmerge.diagnosis import verdict

ANSWER = "directions.largest.answer, mean"
ALONE = [[i] for i in range(8)]


def measured(label: str, seen: float, factor: float | None = 1.0, **tasks: float) -> MeasuredMerge:
    averages = {t: [x, x - 1, x + 1] for t, x in (("seen", seen), ("worst", -seen))}
    each = {name: [x, x - 1, x + 1] for name, x in tasks.items()}
    return MeasuredMerge(MergeId(label, "full", 2), "sweep", factor, each, averages)


def diagnosed(rank: float = 4.0, norm: float = 1.0, **figures: Sequence[float]) -> DiagnosedMerge:
    names = {"answer": ANSWER, "rest": "directions.rest.both, mean", "coefficient": "kept.x"}
    tasks = {names.get(key, key): list(values) for key, values in figures.items()}
    return DiagnosedMerge({"size": norm, "spectra.rank, mean": rank}, tasks, 0.0)


def test_bounds_are_those_of_the_diagnosis() -> None:
    assert (scale_rules.TOO_LARGE, scale_rules.TOO_SMALL) == (verdict.TOO_LARGE, verdict.TOO_SMALL)


def test_figures_are_taken_at_the_scale_that_was_measured() -> None:
    outcome = diagnosed(norm=4.0)
    assert prediction.at_scale(outcome, measured("a", 1, factor=0.5)).flat()["size"] == 2
    assert prediction.at_scale(outcome, measured("a", 1, factor=None)).flat()["size"] == 1


def test_figures_are_correlated_with_the_score_that_is_asked_for() -> None:
    merges = [measured(str(i), 10 * i, factor=2.0**-i) for i in range(8)]
    noise = [3, 6, 1, 4, 7, 0, 5, 2]
    outcome = [diagnosed(answer=[i / 10, 0.9], rest=[x]) for i, x in enumerate(noise)]
    made = prediction.over_merges(merges, outcome, ALONE, "worst")
    rows = {row["figure"]: row for row in made["rows"]}
    assert rows[f"{ANSWER}, task mean"]["rho"] == pytest.approx(-1)
    assert rows[f"{ANSWER}, least task"]["p"] < 0.01
    assert rows["size"]["rho"] == pytest.approx(1)  # as measured: the factor is on it
    assert (made["merges"], made["groups"], made["figures"]) == (8, 8, 6)
    assert made["beyond chance"] == 3  # not rank, which does not vary, nor noise
    assert made["split"]["first"] == made["split"]["second"] == pytest.approx(1)


def test_over_tasks_each_merge_meets_its_own_scores() -> None:
    kept = {"a": [0.1, 0.4, 0.2, 0.9], "b": [0.3, 0.2, 0.8, 0.5], "c": [0.7, 0.1, 0.6, 0.2]}
    merges = [measured(name, 1) for name in kept]
    outcome = [diagnosed(answer=values, rest=[1 - x for x in values]) for values in kept.values()]
    benchmark: Any = SimpleNamespace(kept=lambda each: np.array(kept[each.which.label]))
    made = prediction.over_tasks(merges, outcome, ALONE[:3], benchmark)
    rows = {row["figure"]: row for row in made["rows"]}
    for name, sign in ((ANSWER, 1), ("directions.rest.both, mean", -1)):
        assert rows[name]["within merges"] == pytest.approx(sign)
        assert rows[name]["within tasks"] == pytest.approx(sign)
        assert rows[name]["by task"] == pytest.approx([sign] * 4)
        # Centered values that are equal are so up to rounding, which breaks ties.
        assert rows[name]["both"] == pytest.approx([sign] * 3, abs=0.06)


def test_what_is_owed_to_rank_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "KNOWN_BEFORE", (f"{ANSWER}, task mean",))
    monkeypatch.setattr(prediction, "OF_THE_PAPER", ())
    x, y, rank = np.array([[1, 3, 2, 5, 4, 6], [2, 1, 4, 3, 6, 5], [1, 1, 2, 2, 3, 3.0]])
    merges = [measured(str(i), v) for i, v in enumerate(y)]
    outcome = [diagnosed(rank=r, answer=[v]) for v, r in zip(x, rank, strict=True)]
    (row,) = prediction.beyond_rank(merges, outcome, ALONE[:6])
    assert row["rho"] == pytest.approx(rho.partial(x, y, rank))
    assert row["rho"] < 0 < float(rho.spearman(x, y))


def test_pictures_show_what_their_axes_say() -> None:
    (point,) = prediction.points([measured("ties", 70)], [diagnosed(3.0, answer=[0.8], rest=[0.2])])
    assert point == {"merge": "ties", "seen": 70, "answer": 0.8, "similarity": 0.2, "rank": 3}
    higher = {**point, "merge": "x", "seen": 60, "answer": 0.4, "similarity": 0.1, "rank": 5}
    left, right = charts.prediction({"points": [point, higher]}).axes
    assert scatter_points(left) == [(0.4, 60), (0.8, 70)]
    assert scatter_points(right) == [(0.1, 60), (0.2, 70)]
    (axis,) = charts.size({"sizes": [{"merge": "ties", "size": 2.0, "factor": 0.5}]}).axes
    assert scatter_points(axis) == [(2, 0.5)]
    bounds = {line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--"}
    assert bounds == {scale_rules.TOO_LARGE, scale_rules.TOO_SMALL}


def scatter_points(axis: Any) -> list[tuple[float, float]]:
    return sorted((float(x), float(y)) for c in axis.collections for x, y in c.get_offsets())


def test_claims_about_adapters() -> None:
    spectra = tuple(row for row in invented().spectra if row.kind == "adapter")
    about = paper_claims.of_adapters(replace(invented(), merged=(), spectra=spectra))
    assert about["kurtosis"]["A"] == [pytest.approx([x] * 3) for x in (-1.2, 0.5, -0.04)]
    assert about["kurtosis"]["delta"][2] == pytest.approx([9, 9, 9])
    assert about["spectra"]["head_to_tail"][0] == pytest.approx([3, 2.2, 3.8])
    assert about["spectra"]["first_share"][1] == pytest.approx([0.7, 0.66, 0.74])
    assert about["pairs"]["cosine"] == pytest.approx([-0.125, 0.325 / 3, 0.3])
    assert (about["opposed"], about["opposed by chance"]) == pytest.approx((0.35, 0.45))
    assert about["chance"] == paper_claims.chance_spectra(invented().modules, 4)


def diagnosed_merge(largest: float, rest: float) -> DiagnosedMerge:
    measures = (*paper_claims.SIDES, "both_matched", "answer")
    parts = (("largest", largest), ("rest", rest))
    tasks = {f"directions.{p}.{m}, mean": [x] for p, x in parts for m in measures}
    return DiagnosedMerge({"size": 1.0}, tasks, 0.0)


def test_fates_are_each_merges_own() -> None:
    merges = [measured(label, 1) for label in ("robustmerge", "unknown", "ties")]
    outcome = [diagnosed_merge(0.9, 0.3), diagnosed_merge(0.8, 0.2), diagnosed_merge(0.4, 0.5)]
    rows = paper_claims.directions_kept(merges, outcome)
    drawn = [(row["merge"], row["largest left"], row["rest answer"]) for row in rows]
    assert drawn == [("ties", 0.4, 0.5), ("robustmerge", 0.9, 0.3)]
    assert set(paper_claims.count_largest_kept_better(outcome).values()) == {2}


def test_election_compares_with_the_method_that_elects_none() -> None:
    order = ["dare", "dare-ties", "magnitude-prune", "ties"]
    beats = {name: list("....") for name in order} | {"ties": list("..+.")}
    rows = [{"merge": name, "seen": [n, n, n]} for n, name in enumerate(order)]
    section = {"scale": "sweep", "rank": "full", "rows": rows, "order": order, "beats": beats}
    other = {**section, "rank": "input", "rows": []}
    view: Any = SimpleNamespace(view={"sections": [other, section]})
    assert [tuple(row.values()) for row in paper_claims.election(view)] == [
        ("ties", "magnitude-prune", [3, 3, 3], [2, 2, 2], True),
        ("dare-ties", "dare", [1, 1, 1], [0, 0, 0], False),
    ]


def test_merges_that_span_all_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = importlib.import_module("analysis")
    monkeypatch.setattr(prediction, "over_merges", lambda *raw: raw)
    merges = [measured(name, 1) for name in "abcd"]
    outcome = [
        DiagnosedMerge({}, {"kept.both, weighted": [1.0, x]}, 0.0) for x in (0.5, 1.0, 0.995, 0.98)
    ]
    here, second, groups, target = analysis.correlate_spanning(merges, outcome, [[0, 2], [1], [3]])
    assert [each.which.label for each in here] == ["b", "c"]
    assert second == outcome[1:3]
    assert (groups, target) == ([[1], [0]], "seen")


def test_studies_variants_and_undefined_numbers_are_told_apart() -> None:
    analysis = importlib.import_module("analysis")
    merges = [measured(name, 1) for name in ("ties", "ties:density=0.3", "dare")]
    outcome = [diagnosed(rank=r) for r in (1.0, 2.0, 3.0)]
    alone, those = analysis.without_variants(merges, outcome)
    assert [each.which.label for each in alone] == ["ties", "dare"]
    assert those == [outcome[0], outcome[2]]
    raw = {"a": [float("nan"), np.float64(1 / 3)], "b": (True, "x")}
    assert analysis.round_numbers(raw) == {"a": [None, 0.33333], "b": [True, "x"]}
