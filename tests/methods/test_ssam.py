"""SSAM against its definition by eigenvectors."""

from __future__ import annotations

import math

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
def test_the_core_equals_the_dense_definition(keep: float) -> None:
    inputs = random_stack(40, 30, (4, 2, 5), weights=(1, 0.5, 2))
    deltas = [w * f.dense() for w, f in zip(inputs.weights, inputs.factors, strict=True)]
    k, zero = math.ceil(keep * 11), torch.zeros(())
    U = torch.linalg.eigh(sum((d @ d.T for d in deltas), zero)).eigenvectors[:, -k:]
    V = torch.linalg.eigh(sum((d.T @ d for d in deltas), zero)).eigenvectors[:, -k:]
    expected = U @ U.T @ sum(deltas, zero) / 3.5 @ V @ V.T
    result = MethodCase.of("ssam", {"keep": keep}).merge(inputs)
    torch.testing.assert_close(result, expected, atol=1e-7, rtol=1e-7)


def test_worked_number() -> None:
    """Of the output directions the second is the strongest, of the input directions the first."""
    first = torch.tensor([[2.0, 1], [0, 0]])
    second = torch.tensor([[0.0, 0], [3, 1]])
    inputs = Stack.of([Factors(x, torch.eye(2)) for x in (first, second)])
    result = MethodCase.of("ssam").merge(inputs)
    V = torch.linalg.eigh(first.T @ first + second.T @ second).eigenvectors[:, -1:]
    expected = torch.cat([torch.zeros(1, 2), second[1:] / 2 @ V @ V.T])
    torch.testing.assert_close(result, expected.double(), atol=1e-6, rtol=0)


def test_all_directions_are_the_mean() -> None:
    inputs = random_stack(40, 30, (4, 2, 5))
    mean = sum((f.dense() for f in inputs.factors), torch.zeros(40, 30)) / 3
    torch.testing.assert_close(MethodCase.of("ssam", {"keep": 1.0}).merge(inputs), mean)
