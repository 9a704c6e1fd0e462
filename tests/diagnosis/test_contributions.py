"""The plain sum, and each adapter's contribution: orthogonal, identical, with one A, densely."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import stack
from factories.planted_updates import change_coordinates, orthonormal, planted
from robustmerge.diagnosis.contributions import Contribution, UpdateSum, measure_sum
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.factors import Factors


def measure(*updates: Factors) -> tuple[UpdateSum, list[Contribution]]:
    whole, *each = measure_sum("m", tuple("abcdefgh"[: len(updates)]), CoreSpace.of(updates))
    assert isinstance(whole, UpdateSum)
    contributions = [row for row in each if isinstance(row, Contribution)]
    assert len(contributions) == len(updates)
    return whole, contributions


def test_orthogonal_adapters() -> None:
    U, V = orthonormal(40, 6, 1), orthonormal(30, 6, 2)
    sizes = ([4.0, 3.0], [2.0, 1.0], [1.0, 1.0])
    updates = [
        change_coordinates(planted(U[:, 2 * t : 2 * t + 2], S, V[:, 2 * t : 2 * t + 2]), t)
        for t, S in enumerate(sizes)
    ]
    whole, contributions = measure(*updates)
    assert whole.adapters == 3
    assert whole.coherence == pytest.approx(1)
    assert whole.norm_ratio == pytest.approx(math.sqrt(25 / 2))
    norms = torch.tensor([5, math.sqrt(5), math.sqrt(2)])
    assert whole.norm_variation == pytest.approx(float(norms.std(correction=0) / norms.mean()))
    assert whole.at_input_rank == pytest.approx(25 / 32)
    assert (whole.rank_90, whole.rank_99) == (3, 6)  # 16 + 9 + 4 of 32 are 91 %
    assert [row.in_sum for row in contributions] == pytest.approx([1, 1, 1])
    assert [row.cut for row in contributions] == pytest.approx([1, 0, 0], abs=1e-9)
    assert [row.crosstalk for row in contributions] == pytest.approx([0, 0, 0], abs=1e-9)


def test_identical_adapters() -> None:
    update = planted(orthonormal(40, 2, 1), [2, 1], orthonormal(30, 2, 2))
    whole, contributions = measure(*(change_coordinates(update, t) for t in range(4)))
    assert whole.coherence == pytest.approx(4)
    assert (whole.norm_ratio, whole.norm_variation) == (
        pytest.approx(1),
        pytest.approx(0, abs=1e-7),
    )
    assert whole.at_input_rank == pytest.approx(1)
    for row in contributions:
        assert (row.in_sum, row.cut) == (pytest.approx(4), pytest.approx(1))
        assert row.crosstalk == pytest.approx(9)


def test_adapters_with_one_A_have_crosstalk() -> None:
    A, U = orthonormal(20, 2).T, orthonormal(30, 8, 1)
    _, contributions = measure(*(Factors(A, U[:, 2 * t : 2 * t + 2]) for t in range(4)))
    assert [row.crosstalk for row in contributions] == pytest.approx([3, 3, 3, 3])
    assert [row.in_sum for row in contributions] == pytest.approx([1, 1, 1, 1])


def test_adapters_that_cancel() -> None:
    update = planted(orthonormal(40, 2, 1), [2, 1], orthonormal(30, 2, 2))
    whole, contributions = measure(update, change_coordinates(update, 1).scaled(-1.0))
    assert (whole.coherence, whole.effective_rank, whole.weight) == (0, 0, 0)
    assert (whole.at_input_rank, whole.rank_90, whole.rank_99) == (None, 0, 0)
    assert [row.in_sum for row in contributions] == pytest.approx([0, 0])
    assert [row.cut for row in contributions] == [0, 0]


def test_zero_updates_are_left_out() -> None:
    update = planted(orthonormal(40, 2, 1), [2, 1], orthonormal(30, 2, 2))
    zero = Factors(torch.zeros(0, 30).double(), torch.zeros(40, 0).double())
    whole, contributions = measure(update, zero)
    assert (whole.adapters, whole.coherence) == (1, pytest.approx(1))
    assert whole.norm_ratio == pytest.approx(1)
    assert (contributions[1].in_sum, contributions[1].cut, contributions[1].crosstalk) == (
        None,
        None,
        None,
    )
    whole, _ = measure(zero, zero)
    assert (whole.adapters, whole.norm_ratio, whole.coherence) == (0, None, None)


@cases(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99))
def test_as_the_dense_definitions(ranks: list[int], seed: int) -> None:
    task_stack = stack(9, 8, ranks, seed=seed, dtype=torch.float64)
    whole, contributions = measure(*task_stack.factors)
    deltas = [f.dense() for f in task_stack.factors]
    exact = torch.stack(deltas).sum(0)
    U, S, Vh = torch.linalg.svd(exact)
    r = max(ranks)
    energies = S.square() / S.square().sum()
    assert whole.at_input_rank == pytest.approx(float(energies[:r].sum()))
    assert float(energies[: whole.rank_90].sum()) >= 0.9 - 1e-9
    assert float(energies[: whole.rank_90 - 1].sum()) < 0.9
    p = S[S > 1e-9] / S.sum()
    assert whole.effective_rank == pytest.approx(float((-p * p.log()).sum().exp()))
    for row, delta in zip(contributions, deltas, strict=True):
        energy = float(delta.square().sum())
        assert row.in_sum == pytest.approx(float((exact * delta).sum()) / energy)
        cut = U[:, :r].T @ delta @ Vh[:r].T
        assert row.cut == pytest.approx(float(cut.square().sum()) / energy)
        inputs = torch.linalg.pinv(delta) @ delta
        others = (exact - delta) @ inputs
        assert row.crosstalk == pytest.approx(float(others.square().sum()) / energy, abs=1e-9)
