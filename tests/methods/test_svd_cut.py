"""Compress, then sum."""

from __future__ import annotations

import math

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.5, 0.75, 1.0])
def test_it_is_the_dense_definition(keep: float) -> None:
    given = random_stack(30, 20, (5, 2, 4), weights=(1, -0.5, 2))
    expected = torch.zeros(30, 20).double()
    for f, w in zip(given.factors, given.weights, strict=True):
        U, S, Vh = torch.linalg.svd(f.dense())
        k = math.ceil(keep * f.rank)
        expected += w * U[:, :k] @ torch.diag(S[:k]) @ Vh[:k]
    torch.testing.assert_close(MethodCase.of("svd-cut", {"keep": keep}).merge(given), expected)


def test_worked_numbers() -> None:
    """A share of a count is rounded up, and 0.28 of 25 is 7 for all that floats make of it."""
    diagonal = torch.diag(torch.arange(25.0, 0, -1)).double()
    given = Stack.of([Factors(diagonal, torch.eye(25).double())])
    for keep, kept in ((0.28, 7), (0.281, 8), (0.27, 7)):
        found = MethodCase.of("svd-cut", {"keep": keep}).merge(given)
        torch.testing.assert_close(found.diag()[:kept], diagonal.diag()[:kept])
        assert not found.diag()[kept:].gt(1e-9).any()


def test_an_adapter_that_is_zero_or_lacks_the_module_adds_nothing() -> None:
    given = random_stack(30, 20, (5, 2))
    none = Factors(torch.zeros(0, 20).double(), torch.zeros(30, 0).double())
    zero = Factors(torch.zeros(3, 20).double(), torch.zeros(30, 3).double())
    case = MethodCase.of("svd-cut")
    found = case.merge(Stack.of([none, *given.factors, zero]))
    torch.testing.assert_close(found, case.merge(given))
