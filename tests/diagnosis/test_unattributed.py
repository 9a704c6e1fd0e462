"""Energy of a merge: four planted parts, and least squares with every block written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import factors, stack
from factories.planted_updates import axes, change_coordinates, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.diagnosis.unattributed import Unattributed, split_energy
from robustmerge.factors import Factors


def energy_parts(tasks: list[Factors], merged: Factors) -> tuple[float | None, ...]:
    space = CoreSpace.of(tasks)
    row: Unattributed = split_energy("m", "out", space, *space.with_merged(merged))
    assert (row.module, row.merged) == ("m", "out")
    return row.tasks, row.recombined, row.cross, row.outside


def test_planted_parts() -> None:
    """Plant energy 4, 9, 16 and 25 in the four parts of a merge of orthogonal adapters."""
    U, V = orthonormal(40, 5, 1), orthonormal(30, 5, 2)
    tasks = [planted(U[:, :2], [1, 1], V[:, :2]), planted(U[:, 2:4], [3, 1], V[:, 2:4])]
    sums = planted(U[:, :2], [2**0.5, 2**0.5], V[:, :2])
    recombined = planted(U[:, 2:3], [3], V[:, 3:4])
    cross = planted(U[:, :1], [4], V[:, 3:4])
    outside = planted(U[:, 4:], [5], V[:, 4:])
    planted_parts = (sums, recombined, cross, outside)
    merged = Factors(
        torch.cat([f.A for f in planted_parts]), torch.cat([f.B for f in planted_parts], dim=1)
    )
    parts = energy_parts(
        [change_coordinates(t, i) for i, t in enumerate(tasks)], change_coordinates(merged, 9)
    )
    assert parts == pytest.approx((4 / 54, 9 / 54, 16 / 54, 25 / 54))


def test_combinations_are_explained_whatever_the_sizes() -> None:
    tasks = [f.scaled(s) for f, s in zip(stack(20, 18, (3, 3)).factors, (1.0, 1e-9), strict=True)]
    merged = Factors(
        torch.cat([tasks[0].A, tasks[1].A]), torch.cat([tasks[0].B, -1e9 * tasks[1].B], dim=1)
    )
    assert energy_parts(tasks, merged) == pytest.approx((1, 0, 0, 0), abs=1e-6)


def test_outputs_on_shared_inputs_are_no_cross_terms() -> None:
    V, U = orthonormal(20, 2, 1), orthonormal(30, 4, 2)
    tasks = [planted(U[:, :2], [2, 1], V), planted(U[:, 2:], [2, 1], V)]
    merged = planted(U[:, :1], [1], V[:, 1:])
    assert energy_parts(tasks, merged) == pytest.approx((0, 1, 0, 0), abs=1e-9)


def test_a_new_input_is_outside() -> None:
    tasks = [planted(axes(9, 0), [1], axes(8, 0))]
    merged = planted(axes(9, 0), [1], axes(8, 3))  # a known output, a new input
    assert energy_parts(tasks, merged) == pytest.approx((0, 0, 0, 1))


def test_a_dependent_stack_adds_no_directions() -> None:
    """Repeat an adapter: directions that QR fills in are unattributed."""
    update = planted(orthonormal(30, 2, 1), [2, 1], orthonormal(20, 2, 2))
    merged = planted(orthonormal(30, 2, 5), [2, 1], orthonormal(20, 2, 6))
    once, thrice = (
        energy_parts([update], merged),
        energy_parts([update, update, change_coordinates(update, 3)], merged),
    )
    assert thrice == pytest.approx(once, abs=1e-9)


def test_zero() -> None:
    update = planted(orthonormal(9, 2, 1), [2, 1], orthonormal(8, 2, 2))
    zero = Factors(torch.zeros(0, 8).double(), torch.zeros(9, 0).double())
    assert energy_parts([update], zero) == (None, None, None, None)
    assert energy_parts([zero, zero], update) == (0, 0, 0, 1)


@cases(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 6), st.integers(0, 99))
def test_as_least_squares_with_every_block_written_out(
    ranks: list[int], merged: int, seed: int
) -> None:
    task_stack = stack(10, 9, ranks, seed=seed, dtype=torch.float64)
    other = factors(10, 9, merged, seed + 5000, torch.float64)
    m = other.dense().flatten()
    deltas = torch.stack([f.dense().flatten() for f in task_stack.factors], dim=1)
    bases = [(torch.linalg.qr(f.B).Q, torch.linalg.qr(f.A.T).Q) for f in task_stack.factors]
    blocks = torch.cat([torch.kron(U, V) for U, V in bases], dim=1)
    joint = torch.kron(torch.cat([U for U, _ in bases], 1), torch.cat([V for _, V in bases], 1))

    def explained(X: torch.Tensor) -> float:
        return float((X @ torch.linalg.pinv(X, rtol=1e-10) @ m).square().sum() / m.square().sum())

    tasks, within, span = explained(deltas), explained(blocks), explained(joint)
    expected = (tasks, within - tasks, span - within, 1 - span)
    parts = energy_parts(list(task_stack.factors), other)
    assert parts == pytest.approx(expected, abs=1e-3)
    assert sum(x for x in parts if x is not None) == pytest.approx(1)
