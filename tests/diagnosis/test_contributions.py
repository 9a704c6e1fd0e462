"""The plain sum, and each adapter in it: orthogonal, identical, of one A, and densely."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import stack
from factories.planted_updates import orthonormal, planted, turned
from robustmerge.diagnosis.contributions import Contribution, UpdateSum, measure_sum
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.factors import Factors


def found(*updates: Factors) -> tuple[UpdateSum, list[Contribution]]:
    whole, *each = measure_sum("m", tuple("abcdefgh"[: len(updates)]), CoreSpace.of(updates))
    assert isinstance(whole, UpdateSum)
    heard = [row for row in each if isinstance(row, Contribution)]
    assert len(heard) == len(updates)
    return whole, heard


def test_orthogonal_adapters() -> None:
    U, V = orthonormal(40, 6, 1), orthonormal(30, 6, 2)
    sizes = ([4.0, 3.0], [2.0, 1.0], [1.0, 1.0])
    updates = [
        turned(planted(U[:, 2 * t : 2 * t + 2], S, V[:, 2 * t : 2 * t + 2]), t)
        for t, S in enumerate(sizes)
    ]
    whole, heard = found(*updates)
    assert whole.adapters == 3
    assert whole.coherence == pytest.approx(1)
    assert whole.norm_ratio == pytest.approx(math.sqrt(25 / 2))
    norms = torch.tensor([5, math.sqrt(5), math.sqrt(2)])
    assert whole.norm_variation == pytest.approx(float(norms.std(correction=0) / norms.mean()))
    assert whole.at_input_rank == pytest.approx(25 / 32)
    assert (whole.rank_90, whole.rank_99) == (3, 6)  # 16 + 9 + 4 of 32 are 91 %
    assert [row.in_sum for row in heard] == pytest.approx([1, 1, 1])
    assert [row.cut for row in heard] == pytest.approx([1, 0, 0], abs=1e-9)
    assert [row.crosstalk for row in heard] == pytest.approx([0, 0, 0], abs=1e-9)


def test_identical_adapters() -> None:
    one = planted(orthonormal(40, 2, 1), [2, 1], orthonormal(30, 2, 2))
    whole, heard = found(*(turned(one, t) for t in range(4)))
    assert whole.coherence == pytest.approx(4)
    assert (whole.norm_ratio, whole.norm_variation) == (
        pytest.approx(1),
        pytest.approx(0, abs=1e-7),
    )
    assert whole.at_input_rank == pytest.approx(1)
    for row in heard:
        assert (row.in_sum, row.cut) == (pytest.approx(4), pytest.approx(1))
        assert row.crosstalk == pytest.approx(9)


def test_adapters_of_one_A_all_answer_to_the_same_inputs() -> None:
    A, U = orthonormal(20, 2).T, orthonormal(30, 8, 1)
    _, heard = found(*(Factors(A, U[:, 2 * t : 2 * t + 2]) for t in range(4)))
    assert [row.crosstalk for row in heard] == pytest.approx([3, 3, 3, 3])
    assert [row.in_sum for row in heard] == pytest.approx([1, 1, 1, 1])


def test_adapters_that_cancel() -> None:
    one = planted(orthonormal(40, 2, 1), [2, 1], orthonormal(30, 2, 2))
    whole, heard = found(one, turned(one, 1).scaled(-1.0))
    assert (whole.coherence, whole.effective_rank, whole.weight) == (0, 0, 0)
    assert (whole.at_input_rank, whole.rank_90, whole.rank_99) == (None, 0, 0)
    assert [row.in_sum for row in heard] == pytest.approx([0, 0])
    assert [row.cut for row in heard] == [0, 0]


def test_zero_updates_are_left_out() -> None:
    one = planted(orthonormal(40, 2, 1), [2, 1], orthonormal(30, 2, 2))
    zero = Factors(torch.zeros(0, 30).double(), torch.zeros(40, 0).double())
    whole, heard = found(one, zero)
    assert (whole.adapters, whole.coherence) == (1, pytest.approx(1))
    assert whole.norm_ratio == pytest.approx(1)
    assert (heard[1].in_sum, heard[1].cut, heard[1].crosstalk) == (None, None, None)
    whole, _ = found(zero, zero)
    assert (whole.adapters, whole.norm_ratio, whole.coherence) == (0, None, None)


@cases(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99))
def test_as_the_dense_definitions(ranks: list[int], seed: int) -> None:
    given = stack(9, 8, ranks, seed=seed, dtype=torch.float64)
    whole, heard = found(*given.factors)
    deltas = [f.dense() for f in given.factors]
    exact = torch.stack(deltas).sum(0)
    U, S, Vh = torch.linalg.svd(exact)
    r = max(ranks)
    energies = S.square() / S.square().sum()
    assert whole.at_input_rank == pytest.approx(float(energies[:r].sum()))
    assert float(energies[: whole.rank_90].sum()) >= 0.9 - 1e-9
    assert float(energies[: whole.rank_90 - 1].sum()) < 0.9
    p = S[S > 1e-9] / S.sum()
    assert whole.effective_rank == pytest.approx(float((-p * p.log()).sum().exp()))
    for row, delta in zip(heard, deltas, strict=True):
        energy = float(delta.square().sum())
        assert row.in_sum == pytest.approx(float((exact * delta).sum()) / energy)
        cut = U[:, :r].T @ delta @ Vh[:r].T
        assert row.cut == pytest.approx(float(cut.square().sum()) / energy)
        inputs = torch.linalg.pinv(delta) @ delta
        others = (exact - delta) @ inputs
        assert row.crosstalk == pytest.approx(float(others.square().sum()) / energy, abs=1e-9)
