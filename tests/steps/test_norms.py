"""Norm balancing against worked numbers."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.steps.norms import norms
from robustmerge.testing import random_stack
from robustmerge.testing.cases import change_gauge


def sizes(stack: Stack) -> list[float]:
    return [float(f.dense().norm()) for f in stack.factors]


def sized(*wanted: float) -> Stack:
    unbalanced = random_stack(12, 10, (3,) * len(wanted))
    pairs = zip(unbalanced.factors, wanted, strict=True)
    return Stack.of([f.scaled(n / float(f.dense().norm())) for f, n in pairs])


@pytest.mark.parametrize(
    ("exponent", "expected"), [(0.0, [1, 4, 16]), (0.5, [2, 4, 8]), (1.0, [4, 4, 4])]
)
def test_norms_are_drawn_to_their_geometric_mean(exponent: float, expected: list[float]) -> None:
    assert sizes(norms(sized(1, 4, 16), exponent=exponent, cap=99.0)) == pytest.approx(expected)


def test_the_largest_is_capped() -> None:
    """Norms 1, 2, 3, 4, 100: median 3, distances 2, 1, 0, 1, 97, of which the median is 1."""
    actual = sizes(norms(sized(1, 2, 3, 4, 100), exponent=0.0))
    assert actual == pytest.approx([1, 2, 3, 4, 3 + 3 * 1.4826])


def test_directions_and_weights_stay_and_zero_updates_do_not_count() -> None:
    unbalanced = sized(1, 4, 16).reweighted((1.0, 2.0, 3.0))
    actual = norms(unbalanced)
    assert actual.weights == unbalanced.weights
    for before, after in zip(unbalanced.factors, actual.factors, strict=True):
        cosine = (before.dense() * after.dense()).sum() / before.dense().norm()
        torch.testing.assert_close(cosine, after.dense().norm())
    zeros = [Factors(torch.zeros(2, 10).double(), torch.zeros(12, 2).double())] * 2
    more = norms(Stack.of([*unbalanced.factors, *zeros]))
    assert sizes(more) == pytest.approx([*sizes(actual), 0, 0])
    assert sizes(norms(Stack.of(zeros))) == [0, 0]


def test_norms_are_those_of_the_deltas() -> None:
    unbalanced = random_stack(20, 25, (4, 2, 3))
    other = Stack.of([change_gauge(f, t) for t, f in enumerate(unbalanced.factors)])
    assert sizes(norms(other)) == pytest.approx(sizes(norms(unbalanced)))
