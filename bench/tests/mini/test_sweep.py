"""The sweep over factors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from robustmerge_bench.mini.runs.sweep import FINE, LIMIT, START, sweep


def peak(at: float):  # type: ignore[no-untyped-def]
    """A score that is best at one factor, and the factors it was asked for."""
    requested: list[float] = []

    def score(factor: float) -> float:
        requested.append(factor)
        return -abs(math.log(factor / at))

    return score, requested


@given(st.floats(1 / LIMIT, LIMIT))
def test_it_finds_the_best_factor_of_the_fine_grid(at: float) -> None:
    score, requested = peak(at)
    result = sweep(score)
    grid = [FINE**k for k in range(-12, 13)]
    assert score(result.best) == pytest.approx(max(map(score, grid)), abs=1e-9)
    del requested[len(result.tried) :]
    assert len(requested) == len(set(requested)) == len(result.tried)


def test_a_best_point_inside_needs_no_extension() -> None:
    score, requested = peak(1.0)
    result = sweep(score)
    assert (result.best, result.at_limit) == (1.0, False)
    assert requested == pytest.approx([*START, 1 / FINE, FINE])


@pytest.mark.parametrize(("at", "beyond"), [(16.0, [8, 16, 32]), (1 / 16, [1 / 8, 1 / 16, 1 / 32])])
def test_a_best_point_at_an_end_extends_the_grid(at: float, beyond: list[float]) -> None:
    score, requested = peak(at)
    result = sweep(score)
    assert requested[len(START) : len(START) + 3] == beyond
    assert result.best == at
    assert not result.at_limit


@pytest.mark.parametrize(("at", "end"), [(1e9, LIMIT), (1e-9, 1 / LIMIT)])
def test_it_stops_at_the_limit_and_says_so(at: float, end: float) -> None:
    result = sweep(peak(at)[0])
    assert (result.best, result.at_limit) == (end, True)
    assert max(result.tried) <= LIMIT
    assert min(result.tried) >= 1 / LIMIT


def test_of_equals_the_one_nearest_to_one() -> None:
    result = sweep(lambda factor: float(factor < 100))
    assert result.best == 1.0
    assert list(result.tried) == sorted(result.tried)
    assert sweep(lambda factor: float(2 <= factor <= 4)).best == 2.0
