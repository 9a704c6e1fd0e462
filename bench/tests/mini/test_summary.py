"""Resampling against its definition, and summaries worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench_factories.results import estimate_mean, scores
from robustmerge_bench.mini.ranking.summary import summarize
from robustmerge_bench.results.resampling import (
    ResampledScores,
    ScoreEstimate,
    TaskScores,
    resample_tasks,
)

RANDOM = np.random.default_rng(0)


def constant(*values: float) -> ResampledScores:
    named = dict(zip(("sqa", "rec", "aok"), map(float, values), strict=False))
    return ResampledScores(named, {task: np.full(10, value) for task, value in named.items()})


def resampled(scores: TaskScores, draws: int = 2000) -> ResampledScores:
    return resample_tasks({"one": scores}, draws=draws)["one"]


def test_averages_over_seeds_and_items() -> None:
    outcome = resampled({"sqa": np.array([[0, 50, 100], [0, 0, 0]]), "rec": np.array([[10, 20]])})
    assert outcome.values == {"sqa": 25, "rec": 15}
    value, drawn = outcome.averaged(["rec", "sqa"])
    assert value == 20
    assert np.allclose(drawn, (outcome.draws["rec"] + outcome.draws["sqa"]) / 2)


def test_draws_of_items_are_those_of_the_definition() -> None:
    x = np.array([0.0, 10.0, 70.0])
    drawn = resampled({"sqa": x[None]}, draws=20_000).draws["sqa"]
    possible = np.array([[a, b, c] for a in x for b in x for c in x]).mean(axis=1)
    values, counts = np.unique(possible.round(4), return_counts=True)
    shares = [(abs(drawn - value) < 1e-3).mean() for value in values]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx(counts / 27, abs=0.015)


def test_seeds_are_drawn_too_and_alike_for_all_tasks() -> None:
    same = np.ones((1, 5))
    by_seed = {"sqa": np.array([[0.0], [90.0]]) * same, "rec": np.array([[0.0], [50.0]]) * same}
    drawn = resampled(by_seed, draws=4000).draws
    shares = [(abs(drawn["sqa"] - value) < 1e-3).mean() for value in (0, 45, 90)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert np.allclose(drawn["sqa"] / 90, drawn["rec"] / 50)


def test_items_of_two_tasks_are_drawn_apart() -> None:
    x = RANDOM.uniform(0, 100, (1, 50))
    drawn = resampled({"sqa": x, "rec": x}).draws
    assert abs(np.corrcoef(drawn["sqa"], drawn["rec"])[0, 1]) < 0.1


def test_models_share_the_draws_of_items_and_seeds() -> None:
    x = RANDOM.uniform(0, 90, (3, 50))
    base = {"sqa": x[:1], "rec": x[:1]}
    outcome = resample_tasks({"base": base, "one": {"sqa": x}, "two": {"sqa": x + 10}})
    assert np.allclose(outcome["two"].draws["sqa"] - outcome["one"].draws["sqa"], 10)
    assert outcome["one"].values.keys() == {"sqa"}
    single = resample_tasks({"base": base, "same": base})
    assert np.array_equal(single["base"].draws["sqa"], outcome["base"].draws["sqa"])
    assert np.array_equal(single["same"].draws["rec"], single["base"].draws["rec"])


def test_intervals_are_those_of_the_shared_statistics() -> None:
    by_task = {task: RANDOM.uniform(0, 100, (3, 200)) for task in ("sqa", "rec")}
    outcome = summarize(resampled(by_task), ["sqa", "rec"], [])
    mean, rec = estimate_mean(by_task), estimate_mean(by_task["rec"])
    assert outcome.seen.value == pytest.approx(mean.value)
    assert (outcome.seen.low, outcome.seen.high) == pytest.approx((mean.low, mean.high), abs=0.3)
    assert outcome.tasks["rec"].low == pytest.approx(rec.low, abs=0.4)
    assert outcome.tasks["rec"].high == pytest.approx(rec.high, abs=0.4)


def test_a_summary_by_hand() -> None:
    outcome = summarize(
        constant(70, 30, 50), ["sqa", "rec"], ["aok"], constant(40, 20, 10), constant(90, 50)
    )
    assert outcome.seen.value == 50
    assert outcome.unseen is not None
    assert outcome.unseen.value == 50
    assert (outcome.worst.value, outcome.worst_task) == (30, "rec")
    assert outcome.kept is not None
    assert outcome.kept.value == pytest.approx(100 * (50 - 30) / (70 - 30))
    assert outcome.normalized is not None
    assert outcome.normalized.value == pytest.approx(100 * (70 / 90 + 30 / 50) / 2)
    assert outcome.tasks["aok"] == ScoreEstimate(50.0, 50.0, 50.0)
    assert outcome.kept.half == pytest.approx(0, abs=1e-9)


def test_without_references_nothing_is_kept_and_without_unseen_tasks_none_are() -> None:
    outcome = summarize(constant(70, 30), ["sqa", "rec"], [])
    assert (outcome.kept, outcome.normalized, outcome.unseen) == (None, None, None)


def test_where_experts_gained_nothing_no_share_is_kept() -> None:
    outcome = summarize(constant(70, 30), ["sqa", "rec"], [], constant(50, 50), constant(100, 0))
    assert outcome.kept is not None
    assert math.isnan(outcome.kept.value)
    assert outcome.normalized is not None
    assert math.isnan(outcome.normalized.value)
    assert math.isnan(outcome.normalized.half)


def test_the_interval_of_a_share_is_paired() -> None:
    """Merge, base and experts that differ by the same on every item: the share never varies."""
    x = RANDOM.uniform(0, 50, (1, 100))
    gains = {"merge": 10, "zero-shot": 0, "expert": 40}
    drawn = resample_tasks({name: {"sqa": x + gain} for name, gain in gains.items()})
    merged, zero_shot, expert = drawn.values()
    outcome = summarize(merged, ["sqa"], [], zero_shot, expert)
    assert outcome.kept is not None
    assert (outcome.kept.low, outcome.kept.high) == pytest.approx((25, 25), abs=1e-3)
    assert outcome.seen.half > 1


def test_the_worst_task_may_be_another_one_in_each_draw() -> None:
    draws = {"sqa": np.array([10.0, 30.0]), "rec": np.array([30.0, 10.0])}
    outcome = summarize(ResampledScores({"sqa": 19.0, "rec": 20.0}, draws), ["sqa", "rec"], [])
    assert (outcome.worst.low, outcome.worst.high) == (10, 10)


def test_made_up_scores_have_their_average() -> None:
    assert scores(37.5, 200).mean() == 37.5
