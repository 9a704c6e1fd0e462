"""Model Stock against its worked example, its dense definition and mergekit."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

STOCK = MethodCase.of("model-stock")


def rows(*vectors: list[float], weights: list[float] | None = None) -> Stack:
    """Updates of one row."""
    first = torch.ones(1, 1, dtype=torch.float64)
    return Stack.of([Factors(torch.tensor([v]).double(), first) for v in vectors], weights)


def similar_stack(ranks: tuple[int, ...], **settings: object) -> Stack:
    """Random updates that have something in common."""
    common = random_stack(20, 30, (2,), seed=9).factors[0]
    stack = random_stack(20, 30, ranks, **settings)  # type: ignore[arg-type]
    both = [
        Factors(torch.cat([f.A, common.A]), torch.cat([f.B, 2 * common.B], dim=1))
        for f in stack.factors
    ]
    return Stack.of(both, stack.weights)


def mean_cosine(deltas: list[Tensor]) -> float:
    pairs = [float((a * b).sum() / a.norm() / b.norm()) for a, b in combinations(deltas, 2)]
    return sum(pairs) / len(pairs)


def test_worked_number() -> None:
    """Expect two thirds of the mean for a cosine of 1/2."""
    result = STOCK.merge(rows([1.0, 0.0], [0.5, 0.75**0.5]))
    torch.testing.assert_close(result, 2 / 3 * torch.tensor([[0.75, 0.75**0.5 / 2]]).double())


@pytest.mark.parametrize("ranks", [(3, 2), (3, 2, 4, 1)])
def test_the_core_equals_the_dense_definition(ranks: tuple[int, ...]) -> None:
    inputs = similar_stack(ranks)
    deltas = [f.dense() for f in inputs.factors]
    T, c = len(deltas), mean_cosine(deltas)
    expected = T * c / (1 + (T - 1) * c) * sum(deltas) / T
    torch.testing.assert_close(STOCK.merge(inputs), expected)


def test_weights_are_shares_of_the_runs() -> None:
    """T becomes 1 / Σ p^2, and pairs count by their weights."""
    inputs = similar_stack((3, 2, 4), weights=(2, 1, 0.5))
    deltas = [f.dense() for f in inputs.factors]
    p = [2 / 3.5, 1 / 3.5, 0.5 / 3.5]
    pairs = list(combinations(range(3), 2))
    cosines = [mean_cosine([deltas[i], deltas[j]]) for i, j in pairs]
    by = [p[i] * p[j] for i, j in pairs]
    c = sum(x * y for x, y in zip(by, cosines, strict=True)) / sum(by)
    T = 1 / sum(x * x for x in p)
    expected = T * c / (1 + (T - 1) * c) * sum(x * d for x, d in zip(p, deltas, strict=True))
    torch.testing.assert_close(STOCK.merge(inputs), expected)


def test_an_adapter_of_weight_zero_takes_no_part() -> None:
    three, two = similar_stack((3, 2, 4), weights=(1, 1, 0)), similar_stack((3, 2))
    torch.testing.assert_close(STOCK.merge(three), STOCK.merge(two))


def test_one_adapter_is_itself_and_opposite_ones_are_nothing() -> None:
    torch.testing.assert_close(STOCK.merge(rows([3.0, 4.0])), torch.tensor([[3.0, 4.0]]).double())
    assert not STOCK.merge(rows([1.0, 0.0], [-0.5, 0.75**0.5])).any()


def test_a_zero_adapter_has_cosine_zero_with_the_others() -> None:
    result = STOCK.merge(rows([2.0, 0.0], [2.0, 0.0], [0.0, 0.0]))
    t = 3 * (1 / 3) / (1 + 2 / 3)
    torch.testing.assert_close(result, t * torch.tensor([[4 / 3, 0.0]]).double())


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="no negative weights"):
        STOCK.merge(rows([1.0, 0.0], [1.0, 1.0], weights=[1.0, -0.5]))


def test_it_is_mergekits() -> None:
    """On deltas, the base being zero."""
    pytest.importorskip("mergekit")
    from mergekit.merge_methods.base import TensorGroup
    from mergekit.merge_methods.model_stock import model_stock_merge_method

    inputs = similar_stack((3, 2, 4))
    deltas = [f.dense() for f in inputs.factors]
    group = TensorGroup.from_tensors([torch.zeros_like(deltas[0]), *deltas], base_index=0)
    expected = model_stock_merge_method.merge_group(group, filter_wise=False)
    torch.testing.assert_close(STOCK.merge(inputs), expected)
