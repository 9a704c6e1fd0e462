"""Resampling against its definition, and summaries worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench_factories.results import scores
from robustmerge_bench.figure import ScoreEstimate
from robustmerge_bench.mini.judge.resample import Means, Resamples
from robustmerge_bench.mini.judge.summary import summarize
from robustmerge_bench.stats import interval, interval_of_mean_over_tasks

RANDOM = np.random.default_rng(0)


def means(*values: float) -> Means:
    names = ("sqa", "rec", "aok")[: len(values)]
    return Means(names, np.array(values), np.tile(values, (10, 1)))


def test_averages_over_seeds_and_items() -> None:
    found = Resamples({"sqa": 3, "rec": 2}, 2).means(
        {"sqa": np.array([[0, 50, 100], [0, 0, 0]]), "rec": np.array([[10, 20]])}
    )
    assert found.value.tolist() == [25, 15]
    assert found.over(["rec", "sqa"]).value.tolist() == [15, 25]
    assert found.over(["rec"]).draws[:, 0].tolist() == found.draws[:, 1].tolist()


def test_draws_of_items_are_those_of_the_definition() -> None:
    x = np.array([0.0, 10.0, 70.0])
    drawn = Resamples({"sqa": 3}, 1, draws=20_000).means({"sqa": x[None]}).draws[:, 0]
    possible = np.array([[a, b, c] for a in x for b in x for c in x]).mean(axis=1)
    values, counts = np.unique(possible.round(4), return_counts=True)
    shares = [(abs(drawn - value) < 1e-3).mean() for value in values]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx(counts / 27, abs=0.015)


def test_seeds_are_drawn_too_and_alike_for_all_tasks() -> None:
    same = np.ones((1, 5))
    by_seed = {"sqa": np.array([[0.0], [90.0]]) * same, "rec": np.array([[0.0], [50.0]]) * same}
    drawn = Resamples({"sqa": 5, "rec": 5}, 2, draws=4000).means(by_seed).draws
    shares = [(abs(drawn[:, 0] - value) < 1e-3).mean() for value in (0, 45, 90)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert np.allclose(drawn[:, 0] / 90, drawn[:, 1] / 50)


def test_items_of_two_tasks_are_drawn_apart() -> None:
    x = RANDOM.uniform(0, 100, (1, 50))
    drawn = Resamples({"sqa": 50, "rec": 50}, 1).means({"sqa": x, "rec": x}).draws
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1


def test_two_models_stand_on_the_same_draw() -> None:
    x = RANDOM.uniform(0, 90, (3, 50))
    resamples = Resamples({"sqa": 50}, 3)
    one, two = resamples.means({"sqa": x}), resamples.means({"sqa": x + 10})
    assert np.allclose(two.draws - one.draws, 10)


def test_intervals_are_those_of_the_shared_statistics() -> None:
    by_task = {task: RANDOM.uniform(0, 100, (3, 200)) for task in ("sqa", "rec")}
    found = summarize(Resamples({"sqa": 200, "rec": 200}, 3).means(by_task), ["sqa", "rec"], [])
    low, high = interval_of_mean_over_tasks(by_task)
    assert (found.seen.low, found.seen.high) == pytest.approx((low, high), abs=0.3)
    low, high = interval(by_task["rec"])
    assert (found.tasks["rec"].low, found.tasks["rec"].high) == pytest.approx((low, high), abs=0.4)


def test_a_summary_by_hand() -> None:
    found = summarize(means(70, 30, 50), ["sqa", "rec"], ["aok"], means(40, 20, 10), means(90, 50))
    assert found.seen.value == 50
    assert found.unseen is not None
    assert found.unseen.value == 50
    assert (found.worst.value, found.worst_task) == (30, "rec")
    assert found.kept is not None
    assert found.kept.value == pytest.approx(100 * (50 - 30) / (70 - 30))
    assert found.normalized is not None
    assert found.normalized.value == pytest.approx(100 * (70 / 90 + 30 / 50) / 2)
    assert found.tasks["aok"] == ScoreEstimate(50.0, 50.0, 50.0)
    assert found.kept.half == pytest.approx(0, abs=1e-9)


def test_without_references_nothing_is_kept_and_without_unseen_tasks_none_are() -> None:
    found = summarize(means(70, 30), ["sqa", "rec"], [])
    assert (found.kept, found.normalized, found.unseen) == (None, None, None)


def test_where_experts_gained_nothing_no_share_is_kept() -> None:
    found = summarize(means(70, 30), ["sqa", "rec"], [], means(50, 50), means(100, 0))
    assert found.kept is not None
    assert math.isnan(found.kept.value)
    assert found.normalized is not None
    assert math.isnan(found.normalized.value)
    assert math.isnan(found.normalized.half)


def test_the_interval_of_a_share_is_paired() -> None:
    """Merge, base and experts that differ by the same on every item: the share never varies."""
    x = RANDOM.uniform(0, 50, (1, 100))
    resamples = Resamples({"sqa": 100}, 1)
    merged, zero_shot, expert = (resamples.means({"sqa": x + by}) for by in (10, 0, 40))
    found = summarize(merged, ["sqa"], [], zero_shot, expert)
    assert found.kept is not None
    assert (found.kept.low, found.kept.high) == pytest.approx((25, 25), abs=1e-3)
    assert found.seen.half > 1


def test_the_worst_task_may_be_another_one_in_each_draw() -> None:
    draws = np.array([[10.0, 30.0], [30.0, 10.0]])
    found = summarize(Means(("sqa", "rec"), np.array([19.0, 20.0]), draws), ["sqa", "rec"], [])
    assert (found.worst.low, found.worst.high) == (10, 10)


def test_made_up_scores_have_their_average() -> None:
    assert scores(37.5, 200).mean() == 37.5
