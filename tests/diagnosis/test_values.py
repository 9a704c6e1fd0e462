"""Values: shapes of known distributions, and the sample of the update."""

from __future__ import annotations

import pytest
import torch

from factories.adapters import factors, stack
from robustmerge.diagnosis.values import (
    BINS,
    SIDE,
    Histogram,
    Values,
    histogram_edges,
    measure_values,
    sample_entries,
)
from robustmerge.factors import Factors, Stack


def make_stack(rank: int = 16, d: int = 2000, module: str = "m") -> Stack:
    """Return a stack with a uniform A and a Gaussian B."""
    g = torch.Generator().manual_seed(0)
    A = 2 * torch.rand(rank, d, generator=g) - 1
    B = 3 * torch.randn(d, rank, generator=g)
    return Stack.of([Factors(A, B)], module=module)


def measure(task_stack: Stack) -> tuple[dict[str, Values], dict[str, Histogram]]:
    names = tuple("abcdefgh"[: len(task_stack)])
    rows = list(measure_values(task_stack, names, sample_entries(task_stack)))
    return (
        {r.matrix: r for r in rows if isinstance(r, Values)},
        {r.matrix: r for r in rows if isinstance(r, Histogram)},
    )


def test_shapes_of_a_uniform_A_and_a_gaussian_B() -> None:
    table, counted = measure(make_stack())
    assert table["A"].kurtosis == pytest.approx(-1.2, abs=0.05)
    assert table["A"].deviation == pytest.approx(3**-0.5, rel=0.02)
    assert table["B"].kurtosis == pytest.approx(0, abs=0.15)
    assert table["B"].deviation == pytest.approx(3, rel=0.02)
    assert table["delta"].deviation == pytest.approx(3**-0.5 * 3 * 4, rel=0.1)
    for row in counted.values():
        assert sum(row.counts) == SIDE * SIDE
    # A uniform distribution ends at √3 deviations; bins are a fifth of one.
    occupied = [e for e, n in zip(histogram_edges(), counted["A"].counts, strict=False) if n]
    assert min(occupied) == pytest.approx(-1.8)
    assert max(occupied) == pytest.approx(1.6)
    middle = counted["B"].counts[BINS // 2] / SIDE**2
    assert middle == pytest.approx(0.0793, abs=0.008)  # of a Gaussian in [0, 0.2]


def test_values_far_out_are_in_the_last_bin() -> None:
    x = torch.zeros(1, 100)
    x[0, 7] = -50.0
    _, counted = measure(Stack.of([Factors(x, torch.ones(1, 1))]))
    assert counted["A"].counts[0] == 1
    assert sum(counted["A"].counts) == 100


def test_a_small_update_is_sampled_whole() -> None:
    task_stack = stack(9, 7, (2, 3))
    expected = torch.stack([f.B.double() @ f.A.double() for f in task_stack.factors])
    torch.testing.assert_close(sample_entries(task_stack), expected)


def test_a_sample_holds_entries_of_the_update_at_the_same_places() -> None:
    d = 300
    positions = torch.arange(d * d, dtype=torch.float64).reshape(d, d)
    U = torch.eye(d, dtype=torch.float64)
    task_stack = Stack.of([Factors(positions, U), Factors(2 * positions, U)], module="m")
    entries = sample_entries(task_stack)
    assert entries.shape == (2, SIDE, SIDE)
    torch.testing.assert_close(entries[1], 2 * entries[0])
    rows, columns = (entries[0] // d).long(), (entries[0] % d).long()
    assert len(rows[:, 0].unique()) == SIDE
    assert len(columns[0].unique()) == SIDE
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()


def test_the_draw_is_the_modules_own() -> None:
    assert torch.equal(sample_entries(make_stack()), sample_entries(make_stack()))
    assert not torch.equal(sample_entries(make_stack()), sample_entries(make_stack(module="n")))


def test_without_spread_there_is_no_shape() -> None:
    table, _ = measure(Stack.of([Factors(torch.full((2, 30), 0.1), torch.zeros(20, 2))]))
    assert (table["A"].deviation, table["A"].kurtosis) == (0, None)
    assert (table["delta"].deviation, table["delta"].kurtosis) == (0, None)


def test_an_adapter_without_the_module_has_no_values() -> None:
    task_stack = Stack.of([factors(6, 5, 2, 0), Factors(torch.zeros(0, 5), torch.zeros(6, 0))])
    rows = list(measure_values(task_stack, ("a", "b"), sample_entries(task_stack)))
    assert {row.adapter for row in rows} == {"a"}
