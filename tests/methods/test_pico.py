"""Pico against a worked example and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.methods.spectral.pico import Flavor, calibrate
from robustmerge.testing import MethodCase, random_stack

PICO = MethodCase.of("pico")


def test_worked_numbers() -> None:
    """Shares 9/25 and 16/25, so α = 1/1.36 and 1/1.64; the norm becomes the mean of 3 and 4."""
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[3.0], [0]]))
    second = Factors(torch.tensor([[0.0, 2]]), torch.tensor([[0.0], [2]]))
    shrunk = torch.tensor([3 / 1.36, 4 / 1.64]).double()
    expected = torch.diag(shrunk / shrunk.norm() * 3.5)
    torch.testing.assert_close(PICO.merge(Stack.of([first, second])), expected)
    # The B's alone, (3, 0) and (0, 2), have shares 9/13 and 4/13.
    shrunk = torch.tensor([3 / (1 + 9 / 13), 4 / (1 + 4 / 13)]).double()
    expected = torch.diag(shrunk / shrunk.norm() * 3.5)
    torch.testing.assert_close(PICO.merge(Stack.of([first, second]), flavor="paper"), expected)


@pytest.mark.parametrize("flavor", ["delta", "paper"])
def test_the_core_equals_the_dense_definition(flavor: Flavor) -> None:
    inputs = random_stack(20, 25, (4, 2, 3), weights=(1, 0.5, -2))
    pairs = list(zip(inputs.factors, inputs.weights, strict=True))
    deltas = [w * f.dense() for f, w in pairs]
    parts = deltas if flavor == "delta" else [w * f.B for f, w in pairs]
    values, U = torch.linalg.eigh(sum(x @ x.T for x in parts))
    shrink = U @ torch.diag(1 / (1 + 2 * values / values.sum())) @ U.T
    total = shrink @ sum(deltas)
    expected = total / total.norm() * (sum(d.norm() for d in deltas) / 3)
    torch.testing.assert_close(PICO.merge(inputs, flavor=flavor), expected)
    stack = calibrate(inputs, flavor)
    assert stack.weights == inputs.weights
    for before, after in zip(inputs.factors, stack.factors, strict=True):
        torch.testing.assert_close(after.dense(), shrink @ before.dense())


def test_one_adapter_and_an_absent_one_change_nothing() -> None:
    first = random_stack(12, 10, (3,))
    torch.testing.assert_close(PICO.merge(first), first.factors[0].dense())
    inputs = random_stack(20, 25, (4, 2))
    none = Factors(torch.zeros(0, 25).double(), torch.zeros(20, 0).double())
    torch.testing.assert_close(PICO.merge(Stack.of([*inputs.factors, none])), PICO.merge(inputs))


def test_a_direction_that_all_energy_is_in_is_divided_by_the_number_of_adapters() -> None:
    first = random_stack(8, 6, (1,)).factors[0]
    for f in calibrate(Stack.of([first, first, first])).factors:
        torch.testing.assert_close(f.dense(), first.dense() / 3)


def test_updates_that_cancel_out_stay_zero() -> None:
    first = random_stack(12, 10, (3,)).factors[0]
    second = Factors(first.A * 3, first.B / -3)
    assert not PICO.merge(Stack.of([first, second])).any()


def test_calibrated_updates_keep_their_dtype() -> None:
    inputs = random_stack(12, 10, (3, 2), dtype=torch.float32)
    assert {f.B.dtype for f in calibrate(inputs).factors} == {torch.float32}
