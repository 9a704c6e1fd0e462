"""MagMax against the worked example and the definition written slowly."""

from __future__ import annotations

import pytest
import torch

from factories.adapters import rows
from robustmerge.methods.entrywise import _entries
from robustmerge.testing import MethodCase, random_stack

MAGMAX = MethodCase.of("magmax", {"space": "delta"})


def test_worked_numbers() -> None:
    assert MAGMAX.merge(rows([1.0, -2, 3], [2.0, 1, -1])).tolist() == [[2, -2, 3]]


def test_deltas_by_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    inputs = random_stack(12, 10, (3, 0, 5), weights=(3, 2, -0.5))
    taus = [
        (w * f.dense()).flatten().tolist()
        for f, w in zip(inputs.factors, inputs.weights, strict=True)
    ]
    expected = [max(entry, key=abs) for entry in zip(*taus, strict=True)]
    assert MAGMAX.merge(inputs).flatten().tolist() == pytest.approx(expected)


def test_factors_are_chosen_each_for_itself() -> None:
    inputs = random_stack(12, 10, (2, 4), weights=(4, -1))
    first, second = (f.pad(4) for f in inputs.factors)
    A = (-second.A).where(second.A.abs() > 2 * first.A.abs(), 2 * first.A)
    B = second.B.where(second.B.abs() > 2 * first.B.abs(), 2 * first.B)
    torch.testing.assert_close(MethodCase.of("magmax").merge(inputs), B @ A)


def test_of_equal_magnitudes_the_later_is_taken() -> None:
    assert MAGMAX.merge(rows([1.0, 1], [-1.0, -0.5], [0.5, -1])).tolist() == [[-1, -1]]
