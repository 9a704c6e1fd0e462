"""Spectra: planted singular values, and numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from factories.planted_updates import change_coordinates, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreUpdate
from robustmerge.diagnosis.spectrum import measure_spectrum
from robustmerge.factors import Factors


def test_planted_singular_values() -> None:
    S = [4.0, 2.0, 1.0, 1.0]
    update = change_coordinates(planted(orthonormal(30, 4), S, orthonormal(20, 4)), seed=1)
    row = measure_spectrum("m", "a", "adapter", CoreUpdate(update.pad(7)), base=11.0)
    assert row.values == pytest.approx(S)
    assert (row.module, row.update, row.kind, row.rank) == ("m", "a", "adapter", 4)
    assert row.norm == pytest.approx(math.sqrt(22))
    assert row.weight == pytest.approx(22)
    assert row.first_share == pytest.approx(16 / 22)
    assert row.head_to_tail == pytest.approx(4)
    assert row.stable_rank == pytest.approx(22 / 16)
    # p = 1/2, 1/4, 1/8, 1/8: an entropy of 7/4 bits
    assert row.effective_rank == pytest.approx(2**1.75)
    assert row.change == pytest.approx(math.sqrt(22) / 11)


def test_all_ranks_of_equal_singular_values_are_equal() -> None:
    row = measure_spectrum(
        "m", "a", "merge", CoreUpdate(planted(orthonormal(9, 3), [2] * 3, orthonormal(8, 3)))
    )
    assert row.effective_rank == pytest.approx(3)
    assert row.stable_rank == pytest.approx(3)
    assert row.head_to_tail == pytest.approx(1)
    assert row.change is None


@pytest.mark.parametrize("rank", [0, 2])
def test_a_zero_update(rank: int) -> None:
    zero = Factors(torch.ones(rank, 5), torch.zeros(6, rank))
    row = measure_spectrum("m", "a", "adapter", CoreUpdate(zero), base=3.0)
    assert (row.rank, row.norm, row.effective_rank, row.stable_rank) == (0, 0, 0, 0)
    assert (row.first_share, row.head_to_tail, row.change) == (None, None, 0)
    assert row.values == ()
