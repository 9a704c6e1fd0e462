"""Two adapters: planted overlap, drift and signs, and the dense definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import stack
from factories.planted_updates import axes, change_coordinates, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.diagnosis.pairs import PairOverlap, compare_pairs
from robustmerge.diagnosis.values import sample_entries
from robustmerge.factors import Factors, Stack


def compare(first: Factors, second: Factors) -> PairOverlap:
    task_stack = Stack.of([first, second])
    (row,) = compare_pairs(
        "m", ("a", "b"), CoreSpace.of(task_stack.factors), sample_entries(task_stack)
    )
    assert (row.module, row.first, row.second) == ("m", "a", "b")
    return row


def test_planted_overlap() -> None:
    """Plant one shared output direction of four, and three shared input directions of four."""
    U, V = orthonormal(40, 7, 1), orthonormal(30, 5, 2)
    first = change_coordinates(planted(U[:, :4], [4, 3, 2, 1], V[:, :4]), 3)
    second = change_coordinates(planted(U[:, 3:], [1, 1, 1, 1], V[:, 1:]), 4)
    row = compare(first, second)
    assert row.outputs == pytest.approx(1 / 4)
    assert row.inputs == pytest.approx(3 / 4)
    assert (row.outputs_chance, row.inputs_chance) == (4 / 40, 4 / 30)
    # u_4 is shared, with v_4 of the one (1) and v_2 of V in the other: no common entry.
    assert row.cosine == pytest.approx(0, abs=1e-12)
    assert row.weight == pytest.approx(math.sqrt(30 * 4))


def test_equal_and_opposite_adapters() -> None:
    first = planted(orthonormal(20, 3, 1), [3, 2, 1], orthonormal(10, 3, 2))
    same = compare(first, change_coordinates(first, 5).scaled(2.0))
    assert same.cosine == pytest.approx(1)
    assert (same.inputs, same.outputs) == (pytest.approx(1), pytest.approx(1))
    assert (same.sign_conflict, same.weighted_sign_conflict) == (0, 0)
    opposite = compare(first, first.scaled(-0.1))
    assert opposite.cosine == pytest.approx(-1)
    assert opposite.A_cosine == pytest.approx(1)
    assert (opposite.sign_conflict, opposite.weighted_sign_conflict) == (1, 1)


def test_drift_from_a_shared_initialization() -> None:
    A, drift = axes(9, 0, 1, 2).T, axes(9, 3, 4, 5).T
    B = orthonormal(8, 6)
    row = compare(Factors(A, B[:, :3]), Factors(A + 0.75 * drift, B[:, 3:]))
    assert row.A_cosine == pytest.approx(1 / 1.25)
    assert row.inputs == pytest.approx(1 / 1.25**2)


def test_unlike_ranks_have_no_cosine_of_entries() -> None:
    first = planted(axes(9, 0, 1), [1, 1], axes(9, 0, 1))
    second = planted(axes(9, 0), [1], axes(9, 0))
    row = compare(first, second)
    assert row.A_cosine is None
    assert (row.inputs, row.inputs_chance) == (pytest.approx(1), 2 / 9)


def test_worked_sign_conflict() -> None:
    first = Factors(torch.tensor([[1.0, -2, 3, 0]]), torch.ones(1, 1))
    second = Factors(torch.tensor([[1.0, 4, -1, 5]]), torch.ones(1, 1))
    row = compare(first, second)
    assert row.sign_conflict == pytest.approx(2 / 3)
    assert row.weighted_sign_conflict == pytest.approx(3 / 4)  # 2 and 1 of 1, 2 and 1


def test_unrelated_adapters_are_at_chance() -> None:
    row = compare(*stack(400, 300, (30, 30)).factors)
    assert row.inputs == pytest.approx(30 / 300, rel=0.2)
    assert row.outputs == pytest.approx(30 / 400, rel=0.2)
    assert row.sign_conflict == pytest.approx(0.5, abs=0.03)
    assert row.weighted_sign_conflict == pytest.approx(0.5, abs=0.03)


def test_figures_of_a_zero_update_are_undefined() -> None:
    zero = Factors(torch.ones(2, 9).double(), torch.zeros(8, 2).double())
    row = compare(planted(axes(8, 0, 1), [1, 1], axes(9, 0, 1)), zero)
    assert (row.cosine, row.inputs, row.inputs_chance) == (None, None, None)
    assert (row.outputs, row.outputs_chance) == (None, None)
    assert (row.sign_conflict, row.weighted_sign_conflict, row.weight) == (None, None, 0)


@cases(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.integers(0, 99))
def test_as_the_dense_definitions(ranks: list[int], seed: int) -> None:
    task_stack = stack(11, 9, ranks, seed=seed, dtype=torch.float64)
    names = tuple("abc"[: len(ranks)])
    for row in compare_pairs(
        "m", names, CoreSpace.of(task_stack.factors), sample_entries(task_stack)
    ):
        x, y = (task_stack.factors[names.index(n)].dense() for n in (row.first, row.second))
        assert row.cosine == pytest.approx(float((x * y).sum() / x.norm() / y.norm()))
        onto = [torch.linalg.pinv(z) @ z for z in (x, y)]  # projectors on the row spaces
        smaller = min(float(P.trace()) for P in onto)
        assert row.inputs == pytest.approx(float((onto[0] @ onto[1]).trace()) / smaller)
        onto = [z @ torch.linalg.pinv(z) for z in (x, y)]
        assert row.outputs == pytest.approx(float((onto[0] @ onto[1]).trace()) / smaller)
        assert row.sign_conflict == pytest.approx(float((x.sign() != y.sign()).double().mean()))
