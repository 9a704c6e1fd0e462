"""Singular value calibration against its worked example and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Dense, Factors, Stack, Update
from robustmerge.linalg import concat, core
from robustmerge.steps.svc import svc
from robustmerge.testing import random_stack
from robustmerge.testing.cases import change_gauge


def forms(stack: Stack) -> dict[str, Update]:
    space = core(stack)
    return {
        "factors": concat(stack),
        "lifted": space.lift(space.weighted.sum(0)),
        "dense": Dense(concat(stack).dense()),
    }


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_worked_numbers(alpha: float) -> None:
    eye = torch.eye(2).double()
    single, two = (Factors(eye, torch.diag(torch.tensor([2.0, s]).double())) for s in (1.0, -1.0))
    stack = Stack.of([single, two])
    expected = torch.tensor([[2.0, 0], [0, 0]]).double()
    torch.testing.assert_close(svc(concat(stack), stack, alpha=alpha).dense(), expected)


@pytest.mark.parametrize("form", ["factors", "lifted", "dense"])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_it_equals_the_dense_definition(form: str, alpha: float) -> None:
    stack = random_stack(20, 25, (4, 2, 3), weights=(1, 0.5, -2))
    deltas = [w * f.dense() for f, w in zip(stack.factors, stack.weights, strict=True)]
    U, S, Vh = torch.linalg.svd(sum(deltas), full_matrices=False)
    expected = torch.zeros(20, 25).double()
    for k in range(9):
        whole = S[k] * Vh[k]
        s = [float(whole @ (U[:, k] @ d) / (U[:, k] @ d).square().sum()) for d in deltas]
        eta = sum(max(x, alpha) for x in s) / 3
        expected += S[k] / eta * torch.outer(U[:, k], Vh[k])
    torch.testing.assert_close(svc(forms(stack)[form], stack, alpha=alpha).dense(), expected)


def test_it_looks_at_the_deltas_only() -> None:
    stack = random_stack(20, 25, (4, 2, 3))
    other = Stack.of([change_gauge(f, t) for t, f in enumerate(stack.factors)])
    torch.testing.assert_close(svc(concat(other), other).dense(), svc(concat(stack), stack).dense())


def test_equal_updates_count_once_and_orthogonal_ones_as_they_are() -> None:
    single = random_stack(12, 10, (3,)).factors[0]
    twice = Stack.of([single, single])
    torch.testing.assert_close(svc(concat(twice), twice).dense(), single.dense())
    eye = torch.eye(6).double()
    apart = Stack.of([Factors(eye[:2], eye[:, :2] * 2), Factors(eye[2:4], 3 * eye[:, 3:5])])
    torch.testing.assert_close(svc(concat(apart), apart).dense(), concat(apart).dense())


def test_nothing_stays_nothing_and_absent_adapters_have_no_say() -> None:
    zero = Stack.of([Factors(torch.zeros(2, 5), torch.zeros(4, 2))])
    assert not svc(concat(zero), zero).dense().any()
    single = random_stack(12, 10, (3,)).factors[0]
    none = Factors(torch.zeros(0, 10).double(), torch.zeros(12, 0).double())
    stack = Stack.of([single, single, none])
    torch.testing.assert_close(svc(concat(stack), stack).dense(), single.dense())
