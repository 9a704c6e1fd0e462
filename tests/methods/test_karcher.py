"""The mean on the sphere against its worked example, its definition and mergekit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

KARCHER = MethodCase.of("karcher")


def rows(*vectors: list[float], weights: list[float] | None = None) -> Stack:
    """Updates of one row."""
    first = torch.ones(1, 1, dtype=torch.float64)
    return Stack.of([Factors(torch.tensor([v]).double(), first) for v in vectors], weights)


def test_worked_number() -> None:
    result = KARCHER.merge(rows([2.0, 0.0], [0.0, 4.0]))
    torch.testing.assert_close(result, 3 * torch.full((1, 2), 0.5**0.5).double())


def test_weights_divide_the_arc() -> None:
    """Expect a third of the way on the arc, and between the lengths."""
    result = KARCHER.merge(rows([2.0, 0.0], [0.0, 5.0], weights=[4.0, 2.0]))
    angle = torch.tensor(torch.pi / 6).double()
    torch.testing.assert_close(result, 3 * torch.stack([angle.cos(), angle.sin()])[None])


def tangent(mean: Tensor, unit: Tensor) -> Tensor:
    """Return the tangent at `mean` that leads to `unit`, as long as the arc."""
    angle = torch.arccos((mean * unit).sum())
    off = unit - (mean * unit).sum() * mean
    return angle * off / off.norm()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (1.0, 0.5, 2.0, 0.1)])
def test_at_the_mean_the_tangents_to_the_updates_cancel(weights: tuple[float, ...]) -> None:
    inputs = random_stack(20, 30, (3, 2, 4, 1), weights=weights)
    deltas = [f.dense() for f in inputs.factors]
    p = [w / sum(weights) for w in weights]
    result = KARCHER.merge(inputs)
    length = sum(x * d.norm() for x, d in zip(p, deltas, strict=True))
    torch.testing.assert_close(result.norm(), torch.as_tensor(length))
    mean = result / result.norm()
    assert (
        sum(x * tangent(mean, d / d.norm()) for x, d in zip(p, deltas, strict=True)).norm() < 1e-10
    )


def test_lengths_do_not_turn_it() -> None:
    inputs = random_stack(20, 30, (3, 2, 4))
    longer = [f.scaled(s) for f, s in zip(inputs.factors, (1.0, 20.0, 0.1), strict=True)]
    first, second = KARCHER.merge(inputs), KARCHER.merge(Stack.of(longer))
    torch.testing.assert_close(first / first.norm(), second / second.norm())


def test_equal_updates_stay_as_they_are() -> None:
    (first,) = random_stack(20, 30, (3,)).factors
    torch.testing.assert_close(KARCHER.merge(Stack.of([first])), first.dense())
    torch.testing.assert_close(
        KARCHER.merge(Stack.of([first, first.scaled(3.0)])), 2 * first.dense()
    )


def test_opposite_updates_have_no_mean_direction() -> None:
    assert not KARCHER.merge(rows([2.0, 0.0], [-3.0, 0.0])).any()


def test_a_zero_update_counts_as_length_zero() -> None:
    result = KARCHER.merge(rows([3.0, 0.0], [0.0, 3.0], [0.0, 0.0]))
    torch.testing.assert_close(result, 2 * torch.full((1, 2), 0.5**0.5).double())


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="no negative weights"):
        KARCHER.merge(rows([1.0, 0.0], [1.0, 1.0], weights=[1.0, -0.5]))


def test_it_is_mergekits() -> None:
    """As exactly as its own bound of 1e-5 allows."""
    pytest.importorskip("mergekit")
    from mergekit.merge_methods.karcher import karcher_merge_tensors

    inputs = random_stack(20, 30, (3, 2, 4))
    zero = Factors(inputs.factors[0].A * 0, inputs.factors[0].B)
    factors = [*inputs.factors, zero]
    expected = karcher_merge_tensors([f.dense() for f in factors], [0.25] * 4, max_iter=100)
    torch.testing.assert_close(KARCHER.merge(Stack.of(factors)), expected, atol=1e-4, rtol=1e-4)
