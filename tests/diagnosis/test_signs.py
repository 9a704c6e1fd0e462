"""Sign conflict, by hand and against chance."""

from __future__ import annotations

import pytest
import torch

from factories.adapters import rows, stack
from robustmerge.diagnosis.signs import measure_signs
from robustmerge.diagnosis.values import sample_entries
from robustmerge.factors import Stack


def test_worked() -> None:
    task_stack = rows([3, 1, -2], [-1, 1, 0], [-1, 1, 0])
    # 3 against 2, all agree, one alone: 2 of 10 are opposed.
    row = measure_signs(task_stack, sample_entries(task_stack))
    assert row.opposed == pytest.approx(2 / 10)
    assert row.weight == 10


def test_chance_keeps_the_magnitudes() -> None:
    task_stack = stack(128, 128, (8, 8, 8, 8))
    row = measure_signs(task_stack, sample_entries(task_stack))
    assert row.opposed == pytest.approx(row.chance, abs=0.01)
    first = task_stack.factors[0]
    copies = Stack.of([first, first])
    row = measure_signs(copies, sample_entries(copies))
    assert row.opposed == 0
    assert row.chance == pytest.approx(0.25, abs=0.01)  # half of the entries cancel


def test_no_mass_no_share() -> None:
    task_stack = rows([0, 0], [0, 0])
    row = measure_signs(task_stack, sample_entries(task_stack))
    assert (row.opposed, row.chance, row.weight) == (None, None, 0)
    assert not torch.any(sample_entries(task_stack))
