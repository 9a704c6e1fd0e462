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
    one = torch.ones(1, 1, dtype=torch.float64)
    return Stack.of([Factors(torch.tensor([v]).double(), one) for v in vectors], weights)


def test_worked_number() -> None:
    found = KARCHER.merge(rows([2.0, 0.0], [0.0, 4.0]))
    torch.testing.assert_close(found, 3 * torch.full((1, 2), 0.5**0.5).double())


def test_weights_divide_the_arc() -> None:
    """A third of the way from one to the other, at a third of the way between their lengths."""
    found = KARCHER.merge(rows([2.0, 0.0], [0.0, 5.0], weights=[4.0, 2.0]))
    angle = torch.tensor(torch.pi / 6).double()
    torch.testing.assert_close(found, 3 * torch.stack([angle.cos(), angle.sin()])[None])


def pull(mean: Tensor, unit: Tensor) -> Tensor:
    """Return the tangent at `mean` that leads to `unit`, as long as the arc."""
    angle = torch.arccos((mean * unit).sum())
    off = unit - (mean * unit).sum() * mean
    return angle * off / off.norm()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (1.0, 0.5, 2.0, 0.1)])
def test_at_the_mean_the_tangents_to_the_updates_cancel(weights: tuple[float, ...]) -> None:
    given = random_stack(20, 30, (3, 2, 4, 1), weights=weights)
    deltas = [f.dense() for f in given.factors]
    p = [w / sum(weights) for w in weights]
    found = KARCHER.merge(given)
    length = sum(x * d.norm() for x, d in zip(p, deltas, strict=True))
    torch.testing.assert_close(found.norm(), torch.as_tensor(length))
    mean = found / found.norm()
    assert sum(x * pull(mean, d / d.norm()) for x, d in zip(p, deltas, strict=True)).norm() < 1e-10


def test_lengths_do_not_turn_it() -> None:
    given = random_stack(20, 30, (3, 2, 4))
    longer = [f.scaled(s) for f, s in zip(given.factors, (1.0, 20.0, 0.1), strict=True)]
    one, other = KARCHER.merge(given), KARCHER.merge(Stack.of(longer))
    torch.testing.assert_close(one / one.norm(), other / other.norm())


def test_equal_updates_stay_as_they_are() -> None:
    (one,) = random_stack(20, 30, (3,)).factors
    torch.testing.assert_close(KARCHER.merge(Stack.of([one])), one.dense())
    torch.testing.assert_close(KARCHER.merge(Stack.of([one, one.scaled(3.0)])), 2 * one.dense())


def test_opposite_updates_have_no_mean_direction() -> None:
    assert not KARCHER.merge(rows([2.0, 0.0], [-3.0, 0.0])).any()


def test_a_zero_update_counts_as_length_zero() -> None:
    found = KARCHER.merge(rows([3.0, 0.0], [0.0, 3.0], [0.0, 0.0]))
    torch.testing.assert_close(found, 2 * torch.full((1, 2), 0.5**0.5).double())


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="no negative weights"):
        KARCHER.merge(rows([1.0, 0.0], [1.0, 1.0], weights=[1.0, -0.5]))


def test_it_is_mergekits() -> None:
    """As exactly as its own bound of 1e-5 allows."""
    pytest.importorskip("mergekit")
    from mergekit.merge_methods.karcher import karcher_merge_tensors

    given = random_stack(20, 30, (3, 2, 4))
    zero = Factors(given.factors[0].A * 0, given.factors[0].B)
    factors = [*given.factors, zero]
    expected = karcher_merge_tensors([f.dense() for f in factors], [0.25] * 4, max_iter=100)
    torch.testing.assert_close(KARCHER.merge(Stack.of(factors)), expected, atol=1e-4, rtol=1e-4)
