"""The bootstrap against variances known exactly, and against simulations of what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from bench_factories.results import estimate_mean
from robustmerge.errors import MergeError
from robustmerge_bench.results.comparison import (
    PairwiseComparison,
    compare_all,
    count_wins_and_losses,
    holm,
    paired_difference,
)
from robustmerge_bench.results.resampling import ScoreEstimate

MANY = 20_000
SCORES = st.lists(st.sampled_from([0.0, 30.0, 60.0, 100.0]), min_size=1, max_size=30)


def sample(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 20, shape)


def width(variance: float, level: float = 0.95) -> float:
    """Of the middle of a normal distribution."""
    z = {0.95: 1.959964, 0.5: 0.674490}[level]
    return 2 * z * math.sqrt(variance)


def close(estimate: ScoreEstimate, variance: float, level: float = 0.95) -> bool:
    return 2 * estimate.half == pytest.approx(width(variance, level), rel=0.04)


def middle(estimate: ScoreEstimate) -> float:
    return (estimate.low + estimate.high) / 2


def test_one_task_has_the_width_of_its_standard_error() -> None:
    scores = sample(0, 400)
    ends = estimate_mean(scores, draws=MANY)
    assert close(ends, scores.var() / 400)
    assert ends.value == pytest.approx(scores.mean())
    assert middle(ends) == pytest.approx(scores.mean(), abs=0.1)
    assert close(estimate_mean(scores, level=0.5, draws=MANY), scores.var() / 400, 0.5)


@given(SCORES)
def test_an_interval_covers_its_mean_and_stays_within_the_scores(scores: list[float]) -> None:
    outcome = estimate_mean(scores, draws=500)
    assert outcome.value == pytest.approx(np.mean(scores))
    assert min(scores) <= outcome.low <= np.mean(scores) <= outcome.high <= max(scores)


def test_items_are_drawn_within_each_task_and_tasks_count_the_same() -> None:
    tasks = {"few": sample(1, 50), "many": sample(2, 2000) + 30, "sure": np.full(7, 10.0)}
    ends = estimate_mean(tasks, draws=MANY)
    variance = sum(scores.var() / len(scores) for scores in tasks.values()) / 9
    assert close(ends, variance)
    mean = np.mean([scores.mean() for scores in tasks.values()])
    assert ends.value == pytest.approx(mean)
    assert middle(ends) == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize(("of_seed", "of_item"), [(20.0, 0.0), (0.0, 20.0), (5.0, 60.0)])
def test_seeds_are_drawn_then_items_the_same_for_all_seeds(of_seed: float, of_item: float) -> None:
    """Where scores are a sum of both, the mean's variance is var(seed) / S + var(item) / N."""
    random = np.random.default_rng(3)
    seeds, items = of_seed * random.normal(size=(20, 1)), of_item * random.normal(size=(1, 150))
    ends = estimate_mean(seeds + items, draws=MANY)
    assert close(ends, seeds.var() / 20 + items.var() / 150)


def test_a_seed_drawn_is_drawn_for_all_tasks() -> None:
    """Tasks that share the seeds' effect do not average it out, but their own items'."""
    random = np.random.default_rng(4)
    seeds = 10 * random.normal(size=(20, 1))
    items = [60 * random.normal(size=(1, 100)) for _ in range(2)]
    ends = estimate_mean({"a": seeds + items[0], "b": seeds + items[1]}, draws=MANY)
    assert close(ends, seeds.var() / 20 + (items[0].var() + items[1].var()) / 100 / 4)


def test_what_both_methods_have_in_common_does_not_count() -> None:
    """Hard and easy items differ by 40, methods by 2 with noise of 1 on every item."""
    random = np.random.default_rng(5)
    hard, noise = 40 * random.normal(size=300), random.normal(size=300)
    outcome = paired_difference(hard + 2 + noise, hard, draws=MANY)
    assert outcome.difference.value == pytest.approx(2 + noise.mean())
    assert close(outcome.difference, noise.var() / 300)
    assert outcome.p == pytest.approx(2 / (MANY + 1))
    seeds = paired_difference(
        np.stack([hard + 2 + noise, hard + noise]), np.stack([hard, hard]), draws=MANY
    )  # a seed that gains 2, another nothing: drawn twice, a quarter of the time
    assert (seeds.difference.low, seeds.difference.high) == pytest.approx((0, 2), abs=0.3)


def test_no_difference() -> None:
    scores = sample(6, 3, 40)
    same = paired_difference(scores, scores)
    assert (same.difference, same.p) == (ScoreEstimate(0.0, 0.0, 0.0), 1.0)
    swapped = paired_difference(scores, scores[:, ::-1])  # the same mean, another order
    assert swapped.difference.value == pytest.approx(0)
    assert swapped.p > 0.9


def test_the_other_way_round() -> None:
    a, b = sample(7, 60), sample(8, 60)
    first, other = paired_difference(a, b), paired_difference(b, a)
    turned = other.reversed()
    assert (turned.first, turned.second) == (first.second, first.first)
    for end in ("value", "low", "high"):
        assert getattr(turned.difference, end) == pytest.approx(getattr(first.difference, end))
    assert other.p == first.p
    assert first == paired_difference(a, b)
    assert first != paired_difference(a, b, seed=1)


def test_p_is_twice_the_share_of_draws_on_the_other_side() -> None:
    """Three items, 3 - 1 - 1: the mean of a draw is not above 0 unless the 3 is drawn."""
    outcome = paired_difference([3.0, 0.0, 0.0], [0.0, 1.0, 1.0], draws=MANY)
    assert outcome.difference.value == pytest.approx(1 / 3)
    assert outcome.p == pytest.approx(2 * (2 / 3) ** 3, rel=0.03)


def test_a_draw_without_a_difference_is_against_it() -> None:
    """Four items of ±0.3: 0 where one is drawn twice, whatever rounding makes of it."""
    outcome = paired_difference([0.4, 0.5, 0.1, 0.6], [0.1, 0.2, 0.4, 0.3], draws=MANY)
    against = math.comb(4, 2) * 3**2 + 4 * 3 + 1  # of 4^4 draws, the third item twice or oftener
    assert outcome.p == pytest.approx(2 * against / 4**4, rel=0.03)


def test_intervals_cover_the_truth_and_ps_are_not_too_small() -> None:
    """400 experiments with 60 items each; the nominal shares are 95 % and 5 %."""
    random = np.random.default_rng(9)
    covered = small = 0
    for i in range(400):
        a, b = random.binomial(1, 0.6, (2, 60)) * 100.0
        outcome = estimate_mean(a, draws=400, seed=i)
        covered += outcome.low <= 60 <= outcome.high
        small += paired_difference(a, b, draws=400, seed=i).p < 0.05
    assert 0.91 <= covered / 400 <= 0.98
    assert 0.02 <= small / 400 <= 0.08


def test_who_beats_whom() -> None:
    random = np.random.default_rng(10)
    base = {task: 50 + 20 * random.normal(size=(3, 100)) for task in ("vqa", "rec")}
    gains = {"best": 5.0, "good": 4.95, "worst": 0.0}
    methods = {
        name: {t: x + gain + random.normal(size=(3, 100)) for t, x in base.items()}
        for name, gain in gains.items()
    }
    pairs = compare_all(methods)
    names = [(pair.first, pair.second) for pair in pairs]
    assert names == [("best", "good"), ("best", "worst"), ("good", "worst")]
    assert [pair.significant for pair in pairs] == [False, True, True]
    assert [pair.winner for pair in pairs] == ["", "best", "good"]
    raw = [paired_difference(methods[first], methods[other]) for first, other in names]
    adjusted = holm([pair.p for pair in raw])
    for pair, alone, p in zip(pairs, raw, adjusted, strict=True):
        assert (pair.difference, pair.p) == (alone.difference, p)


def test_many_pairs_take_many_draws() -> None:
    methods = {str(i): sample(i, 20) + 1000 * i for i in range(13)}  # 78 pairs, all clear
    assert all(pair.p < 0.05 for pair in compare_all(methods))
    with pytest.raises(MergeError, match="2000 draws are too few to compare 78 pairs"):
        compare_all(methods, draws=2000)
    assert compare_all({"one": [1.0, 2.0]}) == ()


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_by_its_definition(p: list[float]) -> None:
    """A hypothesis is rejected at a level if it and all smaller p pass their thresholds."""
    m = len(p)
    ordered = sorted(p)
    adjusted = holm(p)
    for value, outcome in zip(p, adjusted, strict=True):
        passed = [min(1.0, ordered[k] * (m - k)) for k in range(m) if ordered[k] <= value]
        assert outcome >= value
        assert outcome == max(passed[: ordered.index(value) + 1])


@pytest.mark.parametrize("scores", [[], [[]], [1.0, math.nan], [math.inf], np.zeros((2, 2, 2))])
def test_no_scores(scores: object) -> None:
    with pytest.raises(MergeError, match="the scores are"):
        estimate_mean(scores)  # type: ignore[arg-type]


def test_what_cannot_be_compared() -> None:
    with pytest.raises(MergeError, match="no tasks"):
        estimate_mean({})
    with pytest.raises(MergeError, match="seeds and items are not the same") as caught:
        paired_difference([1.0, 2.0], [1.0])
    assert caught.value.where == "the first: (1, 2)\nthe second: (1, 1)"
    with pytest.raises(MergeError, match="tasks are not the same"):
        paired_difference({"vqa": [1.0]}, {"rec": [1.0]})
    with pytest.raises(MergeError, match="items of task vqa"):
        compare_all({"x": {"vqa": [1.0]}, "y": {"vqa": [1.0, 2.0]}})
    with pytest.raises(MergeError, match="numbers of seeds"):
        estimate_mean({"a": [[1.0], [2.0]], "b": [1.0]})
    with pytest.raises(MergeError, match="not finite") as caught:
        compare_all({"x": {"vqa": [1.0]}, "y": {"vqa": [math.nan]}})
    assert caught.value.where == "y, task vqa"


def test_draws_do_not_depend_on_how_many_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = sample(11, 2, 30)
    whole = estimate_mean(scores)
    monkeypatch.setattr("robustmerge_bench.results.resampling._BLOCK", 50)
    parts = estimate_mean(scores)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1e-9)


def test_comparisons_are_paired_over_items() -> None:
    """A point on every item is certain, however much the items differ."""
    x = np.random.default_rng(0).uniform(0, 99, (1, 100))
    shuffled = np.random.default_rng(1).permutation(x[0])[None]
    pairs = compare_all({"a": x, "b": x + 1, "c": shuffled})
    assert [pair.winner for pair in pairs] == ["b", "", ""]
    assert pairs[0].difference.value == pytest.approx(-1)
    assert [count_wins_and_losses(pairs, name) for name in "abc"] == [(0, 1), (1, 0), (0, 0)]


def test_a_comparison_is_won_below_five_percent() -> None:
    better = ScoreEstimate(1.0, 0.1, 2.0)
    assert PairwiseComparison("a", "b", better, 0.0499).winner == "a"
    assert PairwiseComparison("a", "b", better, 0.05).winner == ""
    worse = ScoreEstimate(-1.0, -2.0, math.nan)
    assert PairwiseComparison("a", "b", worse, 0.01).winner == "b"
