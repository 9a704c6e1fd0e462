"""STAR against its worked example and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


def test_worked_number() -> None:
    """Singular values 4, 3, 2, 1: the first is 40 % of their sum, and carries all of it."""
    diagonal = Factors(torch.diag(torch.tensor([4.0, 3, 2, 1])), torch.eye(4))
    result = MethodCase.of("star").merge(Stack.of([diagonal]))
    torch.testing.assert_close(result, torch.diag(torch.tensor([10.0, 0, 0, 0])).double())
    more = MethodCase.of("star", {"eta": 0.41}).merge(Stack.of([diagonal]))
    expected = torch.diag(torch.tensor([40 / 7, 30 / 7, 0, 0])).double()
    torch.testing.assert_close(more, expected)


@pytest.mark.parametrize("eta", [0.05, 0.4, 0.8, 1.0])
def test_it_is_the_dense_definition(eta: float) -> None:
    inputs = random_stack(30, 20, (5, 2, 4), weights=(1, 0.5, 2))
    expected = torch.zeros(30, 20).double()
    for f, w in zip(inputs.factors, inputs.weights, strict=True):
        U, S, Vh = torch.linalg.svd(f.dense())
        k = next(k for k in range(1, 21) if S[:k].sum() >= eta * S.sum() * (1 - 1e-9))
        S = S[:k] * S.sum() / S[:k].sum()
        expected += w / 3.5 * U[:, :k] @ torch.diag(S) @ Vh[:k]
    torch.testing.assert_close(MethodCase.of("star", {"eta": eta}).merge(inputs), expected)


def test_a_zero_adapter_counts_in_the_mean_only() -> None:
    inputs = random_stack(30, 20, (5, 2))
    none = Factors(torch.zeros(0, 20).double(), torch.zeros(30, 0).double())
    zero = Factors(torch.zeros(3, 20).double(), torch.zeros(30, 3).double())
    result = MethodCase.of("star").merge(Stack.of([none, *inputs.factors, zero]))
    torch.testing.assert_close(2 * result, MethodCase.of("star").merge(inputs))
