"""CART against its dense definition."""

from __future__ import annotations

import math

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


@pytest.mark.parametrize("settings", [{}, {"keep": 0.3, "strength": 0.7}])
def test_the_core_equals_the_dense_definition(settings: dict[str, float]) -> None:
    inputs = random_stack(40, 30, (4, 2, 5), weights=(1, 0.5, 2))
    keep, strength = settings.get("keep", 0.04), settings.get("strength", 0.1)
    deltas = [f.dense() for f in inputs.factors]
    mean = (deltas[0] + 0.5 * deltas[1] + 2 * deltas[2]) / 3.5
    expected, k = mean.clone(), math.ceil(keep * 11)
    for delta, w in zip(deltas, inputs.weights, strict=True):
        U, S, Vh = torch.linalg.svd(delta - mean)
        expected += strength * w * U[:, :k] @ torch.diag(S[:k]) @ Vh[:k]
    torch.testing.assert_close(MethodCase.of("cart", settings).merge(inputs), expected)


def test_worked_number() -> None:
    """diag(2, 0) and diag(0, 4): the mean diag(1, 2), differences ±diag(1, -2), of which the 2."""
    parts = [Factors(torch.diag(torch.tensor(d)), torch.eye(2)) for d in ([2.0, 0], [0.0, 4])]
    inputs = Stack.of(parts, [1.0, 2.0])
    # Weighted: the mean diag(2/3, 8/3), differences diag(4/3, -8/3) and diag(-2/3, 4/3).
    result = MethodCase.of("cart", {"strength": 0.5}).merge(inputs)
    expected = torch.diag(torch.tensor([2 / 3, 8 / 3 + 0.5 * (-8 / 3 + 2 * 4 / 3)])).double()
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
    plain = MethodCase.of("cart", {"strength": 0.5}).merge(Stack.of([parts[0], parts[0], parts[1]]))
    # The mean diag(4/3, 4/3); of diag(2/3, -4/3), twice, and diag(-4/3, 8/3) the second entries.
    expected = torch.diag(torch.tensor([4 / 3, 4 / 3 + 0.5 * (-8 / 3 + 8 / 3)])).double()
    torch.testing.assert_close(plain, expected, atol=1e-6, rtol=0)


def test_all_differences_at_full_strength_give_back_the_sum() -> None:
    """Mean + Σ (Δ_t - mean): the sum less T - 1 means."""
    inputs = random_stack(40, 30, (4, 2, 5))
    total = sum((f.dense() for f in inputs.factors), torch.zeros(40, 30))
    result = MethodCase.of("cart", {"keep": 1.0, "strength": 1.0}).merge(inputs)
    torch.testing.assert_close(result, total / 3)


def test_one_adapter_is_itself() -> None:
    (first,) = random_stack(40, 30, (4,)).factors
    torch.testing.assert_close(MethodCase.of("cart").merge(Stack.of([first])), first.dense())
