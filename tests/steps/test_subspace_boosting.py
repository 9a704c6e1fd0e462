"""Subspace Boosting against a worked example and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Dense, Factors, Stack
from robustmerge.linalg import concat, core
from robustmerge.steps.subspace_boosting import subspace_boosting
from robustmerge.testing import random_stack


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (0.01, [4, 4, 4, 4]),
        (0.5, [4, 4, 4, 4]),
        (0.51, [4, 2, 2, 2]),
        (0.75, [4, 2, 2, 2]),
        (1.0, [4, 2, 1, 1]),
    ],
)
def test_worked_numbers(energy: float, expected: list[float]) -> None:
    single = Factors(torch.eye(4, 6).double(), torch.diag(torch.tensor([4.0, 2, 1, 1])).double())
    stack = Stack.of([single])
    boosted = subspace_boosting(single, stack, energy=energy).dense()
    torch.testing.assert_close(boosted, torch.diag(torch.tensor(expected)).double() @ single.A)


def test_it_equals_the_dense_definition_and_lifts_no_noise() -> None:
    stack = random_stack(20, 25, (4, 2, 3))
    whole = concat(stack)
    U, S, Vh = torch.linalg.svd(whole.dense(), full_matrices=False)
    S = S[:9]
    at = next(k for k in range(9) if S[: k + 1].sum() >= 0.5 * S.sum())
    expected = U[:, :9] @ torch.diag(S.clamp_min(S[at])) @ Vh[:9]
    space = core(stack)
    for form in (whole, space.lift(space.M.sum(0)), Dense(whole.dense())):
        torch.testing.assert_close(subspace_boosting(form, stack).dense(), expected)


def test_nothing_stays_nothing() -> None:
    zero = Factors(torch.zeros(2, 5), torch.zeros(4, 2))
    assert not subspace_boosting(zero, Stack.of([zero])).dense().any()
