"""Compress, then sum."""

from __future__ import annotations

import math

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.5, 0.75, 1.0])
def test_it_is_the_dense_definition(keep: float) -> None:
    inputs = random_stack(30, 20, (5, 2, 4), weights=(1, -0.5, 2))
    expected = torch.zeros(30, 20).double()
    for f, w in zip(inputs.factors, inputs.weights, strict=True):
        U, S, Vh = torch.linalg.svd(f.dense())
        k = math.ceil(keep * f.rank)
        expected += w * U[:, :k] @ torch.diag(S[:k]) @ Vh[:k]
    torch.testing.assert_close(MethodCase.of("svd-cut", {"keep": keep}).merge(inputs), expected)


def test_worked_numbers() -> None:
    """Round up a share of a count; 0.28 of 25 is 7, although 0.28 * 25 > 7 in floats."""
    diagonal = torch.diag(torch.arange(25.0, 0, -1)).double()
    inputs = Stack.of([Factors(diagonal, torch.eye(25).double())])
    for keep, kept in ((0.28, 7), (0.281, 8), (0.27, 7)):
        result = MethodCase.of("svd-cut", {"keep": keep}).merge(inputs)
        torch.testing.assert_close(result.diag()[:kept], diagonal.diag()[:kept])
        assert not result.diag()[kept:].gt(1e-9).any()


def test_an_adapter_that_is_zero_or_lacks_the_module_adds_nothing() -> None:
    inputs = random_stack(30, 20, (5, 2))
    none = Factors(torch.zeros(0, 20).double(), torch.zeros(30, 0).double())
    zero = Factors(torch.zeros(3, 20).double(), torch.zeros(30, 3).double())
    case = MethodCase.of("svd-cut")
    result = case.merge(Stack.of([none, *inputs.factors, zero]))
    torch.testing.assert_close(result, case.merge(inputs))
