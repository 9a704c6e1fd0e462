"""Retention of an adapter: sums, means, truncation, and the dense definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import factors
from factories.planted_updates import change_coordinates, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.diagnosis.retention import Retention, measure_retention
from robustmerge.factors import Factors


def retention(task: Factors, merged: Factors) -> Retention:
    (core,), merged_core = CoreSpace.of([task]).with_merged(merged)
    return measure_retention("m", "a", "out", core, merged_core)


def test_a_sum_of_orthogonal_updates_keeps_all_and_their_mean_a_share() -> None:
    U, V = orthonormal(40, 6, 1), orthonormal(30, 6, 2)
    task = planted(U[:, :2], [3, 1], V[:, :2])
    whole = planted(U, [3, 1, 5, 4, 2, 1], V)
    row = retention(change_coordinates(task, 1), change_coordinates(whole, 2))
    assert (row.coefficient, row.both) == (pytest.approx(1), pytest.approx(1))
    assert row.cosine == pytest.approx((10 / 56) ** 0.5)
    row = retention(task, whole.scaled(1 / 3))
    assert (row.coefficient, row.both) == (pytest.approx(1 / 3), pytest.approx(1))


def test_truncation_keeps_the_energy_of_its_directions() -> None:
    U, V = orthonormal(40, 3, 1), orthonormal(30, 3, 2)
    task = planted(U, [3, 2, 1], V)
    row = retention(task, planted(U[:, :1], [3], V[:, :1]))
    for figure in (row.coefficient, row.inputs, row.outputs, row.both):
        assert figure == pytest.approx(9 / 14)


def test_inputs_and_outputs_are_separate() -> None:
    U, V = orthonormal(40, 3, 1), orthonormal(30, 3, 2)
    task = planted(U[:, :2], [2, 1], V[:, :2])
    row = retention(task, planted(U[:, :2], [1, 1], torch.stack([V[:, 2], V[:, 1]], dim=1)))
    assert (row.outputs, row.inputs, row.both) == pytest.approx((1, 1 / 5, 1 / 5))
    row = retention(task, task.scaled(-1.0))
    assert (row.coefficient, row.cosine, row.both) == pytest.approx((-1, -1, 1))


def test_zero_on_either_side() -> None:
    task = planted(orthonormal(9, 2, 1), [2, 1], orthonormal(8, 2, 2))
    zero = Factors(torch.zeros(0, 8).double(), torch.zeros(9, 0).double())
    row = retention(task, zero)
    assert (row.coefficient, row.inputs, row.outputs, row.both) == (0, 0, 0, 0)
    assert row.cosine is None
    row = retention(zero, task)
    assert (row.coefficient, row.cosine, row.both, row.weight) == (None, None, None, 0)


@cases(st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_as_the_dense_definitions(rank: int, merged: int, seed: int) -> None:
    task, merge = (factors(9, 8, r, seed + 7 * r, torch.float64) for r in (rank, merged))
    row = retention(task, merge)
    x, y = task.dense(), merge.dense()
    energy = float(x.square().sum())
    assert row.coefficient == pytest.approx(float((x * y).sum()) / energy)
    assert row.cosine == pytest.approx(float((x * y).sum() / x.norm() / y.norm()))
    rows, columns = torch.linalg.pinv(y) @ y, y @ torch.linalg.pinv(y)
    assert row.inputs == pytest.approx(float((x @ rows).square().sum()) / energy)
    assert row.outputs == pytest.approx(float((columns @ x).square().sum()) / energy)
    assert row.both == pytest.approx(float((columns @ x @ rows).square().sum()) / energy)
