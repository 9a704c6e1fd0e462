"""MAGIC's row rule against its worked example and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Dense, Factors, Stack, Update
from robustmerge.linalg import concat, core
from robustmerge.steps.magic import magic
from robustmerge.testing import random_stack


def forms(stack: Stack) -> dict[str, Update]:
    space = core(stack)
    return {
        "factors": concat(stack),
        "lifted": space.lift(space.weighted.sum(0)),
        "dense": Dense(concat(stack).dense()),
    }


def test_worked_numbers() -> None:
    deltas = [
        torch.tensor(d).double() for d in ([[2.0, 0, 0], [0, 1, 0]], [[1.0, 1, 0], [0, 0, 2]])
    ]
    stack = Stack.of([Factors(d, torch.eye(2).double()) for d in deltas])
    expected = torch.tensor([[1.0629, 0.3543, 0], [0, 0.7071, 1.4142]]).double()
    merged = magic(concat(stack).scaled(0.5), stack).dense()
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["factors", "lifted", "dense"])
def test_it_equals_the_dense_definition(form: str) -> None:
    stack = random_stack(20, 25, (4, 2, 3), weights=(1, 0.5, -2))
    rows = [w * f.dense() for f, w in zip(stack.factors, stack.weights, strict=True)]
    merged = concat(stack).dense()
    expected = torch.zeros(20, 25).double()
    for i in range(20):
        d = merged[i]
        alphas = [float(d @ a[i] / (a[i] @ a[i])) for a in rows]
        outside = d - sum(x * a[i] for x, a in zip(alphas, rows, strict=True))
        n = sum(float(a[i].norm()) for a in rows) / 3
        size = sum(x * x for x in alphas) + float(outside @ outside) / n**2 + 1e-8
        expected[i] = d / size**0.5
    torch.testing.assert_close(magic(forms(stack)[form], stack).dense(), expected)


def test_the_size_of_the_merge_before_does_not_matter() -> None:
    stack = random_stack(20, 25, (4, 2, 3))
    one, two = (magic(concat(stack).scaled(by), stack).dense() for by in (0.3, 30.0))
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_a_row_that_one_adapter_has_gets_its_length_back() -> None:
    single = random_stack(12, 10, (3,)).factors[0]
    alone = Stack.of([single])
    short = concat(alone).scaled(0.1)
    # Up to the 1e-8 in the root.
    torch.testing.assert_close(magic(short, alone).dense(), single.dense(), rtol=1e-5, atol=1e-5)
    eye = torch.eye(6).double()
    apart = Stack.of([Factors(eye[:2], eye[:, :2] * 2), Factors(eye[2:4], 3 * eye[:, 3:5])])
    half, whole = concat(apart).scaled(0.5), concat(apart).dense()
    torch.testing.assert_close(magic(half, apart).dense(), whole, rtol=1e-5, atol=1e-5)


def test_turned_outputs_are_other_rows() -> None:
    """Check that the rule is about the layer's rows, which a method in core space does not see."""
    stack = random_stack(20, 25, (4, 2, 3))
    turn = torch.linalg.qr(
        torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    ).Q.double()
    other = Stack.of([Factors(f.A, turn @ f.B) for f in stack.factors])
    one, two = (magic(concat(s), s).dense() for s in (stack, other))
    assert float((turn @ one - two).norm() / two.norm()) > 1e-2


def test_rank_and_a_stay_and_absent_adapters_have_no_say() -> None:
    stack = random_stack(20, 15, (3, 2))
    update = concat(stack)
    calibrated = magic(update, stack)
    assert isinstance(calibrated, Factors)
    assert torch.equal(calibrated.A, update.A)
    none = Factors(torch.zeros(0, 15).double(), torch.zeros(20, 0).double())
    more = Stack.of([*stack.factors, none])
    torch.testing.assert_close(magic(update, more).dense(), calibrated.dense())
    zero = Stack.of([Factors(torch.zeros(2, 5), torch.zeros(4, 2))])
    assert not magic(concat(zero), zero).dense().any()
