"""The sweep over factors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from robustmerge_bench.mini.runs.sweep import FINE, LIMIT, START, sweep


def peak(at: float):  # type: ignore[no-untyped-def]
    """A score that is best at one factor, and the factors it was asked for."""
    asked: list[float] = []

    def score(factor: float) -> float:
        asked.append(factor)
        return -abs(math.log(factor / at))

    return score, asked


@given(st.floats(1 / LIMIT, LIMIT))
def test_it_finds_the_best_factor_of_the_fine_grid(at: float) -> None:
    score, asked = peak(at)
    found = sweep(score)
    grid = [FINE**k for k in range(-12, 13)]
    assert score(found.best) == pytest.approx(max(map(score, grid)), abs=1e-9)
    del asked[len(found.tried) :]
    assert len(asked) == len(set(asked)) == len(found.tried)


def test_a_best_point_inside_needs_no_extension() -> None:
    score, asked = peak(1.0)
    found = sweep(score)
    assert (found.best, found.at_limit) == (1.0, False)
    assert asked == pytest.approx([*START, 1 / FINE, FINE])


@pytest.mark.parametrize(("at", "beyond"), [(16.0, [8, 16, 32]), (1 / 16, [1 / 8, 1 / 16, 1 / 32])])
def test_a_best_point_at_an_end_extends_the_grid(at: float, beyond: list[float]) -> None:
    score, asked = peak(at)
    found = sweep(score)
    assert asked[len(START) : len(START) + 3] == beyond
    assert found.best == at
    assert not found.at_limit


@pytest.mark.parametrize(("at", "end"), [(1e9, LIMIT), (1e-9, 1 / LIMIT)])
def test_it_stops_at_the_limit_and_says_so(at: float, end: float) -> None:
    found = sweep(peak(at)[0])
    assert (found.best, found.at_limit) == (end, True)
    assert max(found.tried) <= LIMIT
    assert min(found.tried) >= 1 / LIMIT


def test_of_equals_the_one_nearest_to_one() -> None:
    found = sweep(lambda factor: float(factor < 100))
    assert found.best == 1.0
    assert list(found.tried) == sorted(found.tried)
    assert sweep(lambda factor: float(2 <= factor <= 4)).best == 2.0
