"""The control: right singular values, directions that have nothing to do with the adapters'."""

from __future__ import annotations

import torch

from robustmerge.factors import Stack
from robustmerge.linalg import svd
from robustmerge.steps.random_directions import random_directions
from robustmerge.testing import random_stack


def test_singular_values_stay_and_directions_go() -> None:
    stack = random_stack(300, 200, (4, 0, 3))
    turned = random_directions(stack)
    for f, after in zip(stack.factors, turned.factors, strict=True):
        torch.testing.assert_close(svd(after).S, svd(f).S)
        cosine = float((f.dense() * after.dense()).sum() / (f.dense().norm() ** 2 + 1e-300))
        assert abs(cosine) < 0.05  # of 60000 entries


def test_modules_adapters_and_seeds_have_directions_of_their_own() -> None:
    single = random_stack(30, 20, (3,)).factors[0]
    stack = Stack.of([single, single])
    first = random_directions(stack)
    second = random_directions(Stack.of([single, single], module="another"))
    third = random_directions(stack, seed=1)
    drawn = [f.dense() for turned in (first, second, third) for f in turned.factors]
    for i, one in enumerate(drawn):
        assert all(not torch.allclose(one, other) for other in drawn[:i])
    again = random_directions(stack)
    assert all(torch.equal(a.B, b.B) for a, b in zip(first.factors, again.factors, strict=True))


def test_types_stay() -> None:
    stack = random_stack(30, 20, (3,), dtype=torch.float32)
    turned = random_directions(stack).factors[0]
    assert (turned.A.dtype, turned.B.dtype) == (torch.float32, torch.float32)
