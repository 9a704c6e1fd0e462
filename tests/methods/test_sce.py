"""SCE against the worked example and the definition written slowly."""

from __future__ import annotations

from statistics import pvariance
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import rows
from robustmerge.factors import Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.testing import MethodCase, check_method, random_stack


def sce(inputs: Stack, **settings: Any) -> Tensor:
    return MethodCase.of("sce", settings).merge(inputs)


def by_hand(taus: list[list[float]], density: float) -> list[float]:
    """Entry by entry."""
    variances = [pvariance(entry) for entry in zip(*taus, strict=True)]
    keep = int(sum(v > 0 for v in variances) * density)
    floor = sorted(variances)[-keep]
    left = [[x if v >= floor else 0.0 for x, v in zip(tau, variances, strict=True)] for tau in taus]
    energies = [sum(x * x for x in tau) for tau in left]
    result = []
    for entry in zip(*left, strict=True):
        agree = [(e, x) for e, x in zip(energies, entry, strict=True) if x * sum(entry) > 0]
        result.append(sum(e * x for e, x in agree) / sum(e for e, _ in agree) if agree else 0.0)
    return result


def test_worked_numbers() -> None:
    actual = sce(rows([1.0, -2, 3], [2.0, 1, -1]), space="delta")
    torch.testing.assert_close(actual, torch.tensor([[1.3, -2, 3]]).double())


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_deltas_by_the_definition(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    inputs = random_stack(12, 10, (3, 1, 5, 2), weights=(1, 2, -0.5, 1))
    taus = [
        (w * f.dense()).flatten().tolist()
        for f, w in zip(inputs.factors, inputs.weights, strict=True)
    ]
    actual = sce(inputs, density=density, space="delta")
    assert actual.flatten().tolist() == pytest.approx(by_hand(taus, density))


def test_factors_by_the_definition() -> None:
    inputs = random_stack(12, 10, (2, 4), weights=(4, 1))
    first, second = (f.pad(4) for f in inputs.factors)
    merged = []
    for pair in ((first.A, second.A), (first.B, second.B)):
        taus = [(2 * pair[0]).flatten().tolist(), pair[1].flatten().tolist()]
        merged.append(torch.tensor(by_hand(taus, 0.4), dtype=torch.float64).view(pair[0].shape))
    A, B = merged
    torch.testing.assert_close(sce(inputs, density=0.4), B @ A)


def test_a_draw_is_plus() -> None:
    assert sce(rows([1.0], [-1.0]), space="delta").tolist() == [[1]]


def test_an_entry_of_an_adapter_that_hardly_counts_is_whole() -> None:
    assert sce(rows([1.0, 0], [0.0, 1000]), space="delta").tolist() == [[1, 1000]]


def test_only_varying_entries_are_counted_and_selected() -> None:
    inputs = rows([1.0, 1, 1, 0], [1.0, 2, 4, 0])
    actual = sce(inputs, density=0.5, space="delta")[0].tolist()
    assert actual == pytest.approx([0, 0, (1 + 16 * 4) / 17, 0])
    assert sce(inputs, density=0.3, space="delta").tolist() == [[0, 0, 0, 0]]


def test_small_updates_have_coefficients_too() -> None:
    """mergekit has equal ones there."""
    inputs = random_stack()
    small = Stack.of([f.scaled(2**-20) for f in inputs.factors])
    torch.testing.assert_close(sce(small, space="delta") * 2**20, sce(inputs, space="delta"))


def test_the_contract_holds_with_a_selection() -> None:
    check_method("sce", {"density": 0.3})
