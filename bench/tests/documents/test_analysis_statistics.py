"""Statistics of docs/analysis.md, with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis_parts import rank_correlation as rho, related_merges

ALONE = [[i] for i in range(8)]


def test_rank_correlation_of_known_orders() -> None:
    x = np.arange(5.0)
    assert rho.spearman(x, x**3) == pytest.approx(1)
    assert rho.spearman(x, -np.exp(x)) == pytest.approx(-1)
    assert rho.spearman(x, np.array([1.0, 0, 3, 2, 4])) == pytest.approx(0.8)  # 1 - 6 Σd² / n(n²-1)
    assert np.isnan(rho.spearman(x, np.ones(5)))


def test_ties_share_their_rank_as_in_scipy() -> None:
    generator = np.random.default_rng(0)
    X, y = generator.integers(0, 4, (3, 12)), generator.integers(0, 4, 12)
    wanted = [stats.spearmanr(x, y).statistic for x in X]
    np.testing.assert_allclose(rho.spearman(X, y[None]), wanted)


def test_partial_correlation_is_that_of_residuals() -> None:
    generator = np.random.default_rng(1)
    z, noise = generator.normal(size=60), generator.normal(size=(2, 60))
    x, y = (stats.rankdata(2 * z + n) for n in noise)
    ranks = stats.rankdata(z)
    left = [v - np.polyval(np.polyfit(ranks, v, 1), ranks) for v in (x, y)]
    assert rho.partial(x, y, z) == pytest.approx(float(np.corrcoef(*left)[0, 1]))
    assert np.isnan(rho.partial(z, y, z))


def test_intervals_draw_groups_whole() -> None:
    groups = [[0, 1], [2, 3, 4]]
    drawn = {tuple(sorted(positions)) for positions in rho.resample_groups(groups, draws=50)}
    assert drawn == {(0, 0, 1, 1), (0, 1, 2, 3, 4), (2, 2, 3, 3, 4, 4)}


def test_related_merges_widen_an_interval_and_single_ones_do_not() -> None:
    generator = np.random.default_rng(2)
    x = np.repeat(generator.normal(size=8), 5)
    y = x + np.repeat(generator.normal(size=8), 5)
    alone = rho.interval(x, y, [[i] for i in range(40)])
    together = rho.interval(x, y, [list(range(5 * i, 5 * i + 5)) for i in range(8)])
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_error_of_items_blurs_only_what_is_close() -> None:
    x, y = np.arange(6.0), np.arange(6.0) * 10
    assert rho.item_interval(x, y, np.full(6, 0.1)) == (pytest.approx(1), pytest.approx(1))
    low, high = rho.item_interval(x, y, np.full(6, 20.0))
    assert low < 0.5 < high


def test_p_values_allow_for_every_figure_tried() -> None:
    generator = np.random.default_rng(3)
    y = np.arange(8.0)
    first = np.array([[0.0, 1, 2, 3, 4, 6, 5, 7]])
    noise = generator.normal(size=(200, 8))
    alone = rho.adjusted_p_values(first, y, ALONE, draws=2000)[0]
    among = rho.adjusted_p_values(np.concatenate([first, noise]), y, ALONE, draws=2000)
    assert alone < 0.005 < 0.02 < among[0]
    copies = rho.adjusted_p_values(np.repeat(first, 50, axis=0), y, ALONE, draws=2000)
    assert copies == pytest.approx(np.full(50, alone))  # the same figure again costs nothing
    assert (among[1:] < 0.05).sum() <= 1


def test_a_group_counts_once_in_p_values() -> None:
    x = np.concatenate([np.zeros(20), np.ones(20)]) + np.tile(np.arange(20), 2) * 1e-3
    alone = rho.adjusted_p_values(x[None], x, [[i] for i in range(40)], draws=500)[0]
    two = rho.adjusted_p_values(x[None], x, [list(range(20)), list(range(20, 40))], draws=500)[0]
    assert alone == pytest.approx(1 / 501)
    assert two == pytest.approx(1)


def test_a_figure_that_does_not_vary_has_no_p() -> None:
    X = np.stack([np.ones(8), np.arange(8.0)])
    p = rho.adjusted_p_values(X, np.arange(8.0), ALONE, draws=200)
    assert np.isnan(p[0])
    assert p[1] < 0.05


def test_a_real_figure_is_confirmed_and_noise_is_not() -> None:
    generator = np.random.default_rng(4)
    y = np.arange(40.0)
    alone = [[i] for i in range(40)]
    noise = {f"noise {i}": generator.normal(size=40) for i in range(100)}
    real = rho.check_on_halves({**noise, "real": -y}, y, alone, splits=100)
    assert (real.first, real.second, real.chosen) == (1, 1, {"real": 1})
    none = rho.check_on_halves(noise, y, alone, splits=100)
    assert none.first > 0.5
    assert none.second < 0.4


def test_tasks_are_shuffled_for_all_merges_alike() -> None:
    """A hundred merges that lose the same tasks are eight observations, not eight hundred."""
    generator = np.random.default_rng(5)
    task = np.array([0.0, 1, 2, 3, 4, 5, 6, 7])
    Y = np.tile(task, (100, 1))
    near = np.tile(task[[1, 0, 4, 2, 3, 7, 5, 6]], (100, 1))
    value, p = rho.shuffled_tasks(np.stack([near, Y]), Y)
    assert value == pytest.approx([1 - 6 * 14 / (8 * 63), 1])
    assert p[1] < 0.005 < p[0] < 0.1
    unrelated = generator.normal(size=(1, 100, 8))
    _, p = rho.shuffled_tasks(unrelated, Y)
    assert p[0] > 0.01


def test_double_centering_leaves_what_is_of_merge_and_task_together() -> None:
    merge, task = np.arange(3.0)[:, None], np.arange(4.0)[None] ** 2
    assert rho.center_twice(merge + task) == pytest.approx(np.zeros((3, 4)))
    both = np.array([[1.0, -1], [-1, 1]])
    assert rho.center_twice(5 + both + np.array([[1.0], [2]])) == pytest.approx(both)


def test_relation_is_passed_on() -> None:
    alike = np.array([[1, 0.96, 0, 0], [0.96, 1, 0, 0.97], [0, 0, 1, -0.99], [0, 0.97, -0.99, 1]])
    assert related_merges.groups(alike) == [[0, 1, 3], [2]]
    assert related_merges.groups(alike, 0.5) == [[0, 1, 3], [2]]
    assert related_merges.groups(alike, 0.99) == [[0], [1], [2], [3]]
