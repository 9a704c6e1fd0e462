"""Cross terms: the two extremes by hand, and the dense product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import stack
from factories.planted_updates import orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.diagnosis.cross_terms import measure_cross_terms
from robustmerge.factors import Factors


def test_with_one_A_the_product_is_a_multiple_of_the_sum() -> None:
    A = orthonormal(9, 3).T
    updates = [Factors(A, orthonormal(20, 3, t)) for t in range(5)]
    row = measure_cross_terms("m", CoreSpace.of(updates))
    assert (row.ratio, row.cosine, row.gain) == (
        pytest.approx(16),
        pytest.approx(1),
        pytest.approx(5),
    )


def test_unrelated_factors_are_mostly_cross_terms() -> None:
    U, V = orthonormal(40, 10, 1), orthonormal(30, 10, 2)
    updates = [planted(U[:, 2 * t : 2 * t + 2], [1, 1], V[:, 2 * t : 2 * t + 2]) for t in range(5)]
    row = measure_cross_terms("m", CoreSpace.of(updates))
    assert row.ratio == pytest.approx(4)
    assert row.cosine == pytest.approx(5**-0.5)
    assert row.gain == pytest.approx(1)
    assert row.weight == pytest.approx(10)


def test_coordinates_matter() -> None:
    """Negate both factors: the same update, but its cross terms cancel the rest."""
    update = planted(orthonormal(9, 2, 1), [2, 1], orthonormal(8, 2, 2))
    row = measure_cross_terms("m", CoreSpace.of([update, Factors(-update.A, -update.B)]))
    assert (row.ratio, row.cosine, row.gain) == (pytest.approx(1), None, pytest.approx(0))


def test_updates_that_cancel_have_undefined_figures() -> None:
    update = planted(orthonormal(9, 2, 1), [2, 1], orthonormal(8, 2, 2))
    row = measure_cross_terms("m", CoreSpace.of([update, update.scaled(-1.0)]))
    assert (row.ratio, row.cosine, row.gain, row.weight) == (None, None, None, 0)


@cases(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_as_the_dense_definition(ranks: list[int], seed: int) -> None:
    task_stack = stack(8, 7, ranks, seed=seed, dtype=torch.float64)
    row = measure_cross_terms("m", CoreSpace.of(task_stack.factors))
    exact = sum((f.dense() for f in task_stack.factors), torch.zeros(8, 7).double())
    both = task_stack.B.sum(0) @ task_stack.A.sum(0)
    if not max(ranks):
        assert row.ratio is None
        return
    assert row.weight == pytest.approx(float(exact.square().sum()))
    cross = float((both - exact).square().sum() / exact.square().sum())
    assert row.ratio == pytest.approx(cross, abs=1e-12)
    assert row.cosine == pytest.approx(float((both * exact).sum() / both.norm() / exact.norm()))
    assert row.gain == pytest.approx(float((both * exact).sum() / exact.square().sum()))
