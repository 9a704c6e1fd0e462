"""The methods that are sums, against their formulas written densely."""

from __future__ import annotations

import pytest
import torch

from factories.adapters import factors, stack
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack, Update


def merge(name: str, inputs: Stack, **parameters: object) -> torch.Tensor:
    method = methods.get(name)
    result: Update = method(inputs, **method.configure(parameters))  # type: ignore[assignment]
    assert isinstance(result, Factors)
    return result.dense()


def test_task_arithmetic_is_the_weighted_sum_of_unequal_ranks() -> None:
    inputs = stack(ranks=(2, 5, 3), weights=(1, -0.5, 2), dtype=torch.float64)
    expected = sum(w * f.dense() for w, f in zip(inputs.weights, inputs.factors, strict=True))
    torch.testing.assert_close(merge("task-arithmetic", inputs), expected)


def test_average_is_the_mean_of_each_factor() -> None:
    inputs = stack(ranks=(3, 3), weights=(1, 3), dtype=torch.float64)
    (a, b) = inputs.factors
    expected = ((b.B * 3 + a.B) / 4) @ ((b.A * 3 + a.A) / 4)
    torch.testing.assert_close(merge("average", inputs), expected)


def test_average_pads_smaller_ranks_with_zeros() -> None:
    small, large = factors(6, 5, 1, seed=1), factors(6, 5, 3, seed=2)
    merged = methods.get("average")(Stack.of([small, large]))
    assert isinstance(merged, Factors)
    torch.testing.assert_close(merged.A[1:], large.A[1:] / 2)


def test_average_refuses_weights_that_sum_to_zero() -> None:
    with pytest.raises(MergeError, match=r"sum to zero"):
        merge("average", stack(ranks=(2, 2), weights=(1, -1)))


@pytest.mark.parametrize("normalize", [True, False])
def test_robustmerge_paper_is_equation_5(normalize: bool) -> None:
    inputs = stack(d_out=30, d_in=25, ranks=(4, 4, 4), weights=(1, 1, 0.5), dtype=torch.float64)
    pruned, scales = [], []
    for f in inputs.factors:
        a, b = (
            x.where(x.abs() >= x.abs().flatten().kthvalue(int(x.numel() * 0.7)).values, 0)
            for x in (f.A, f.B)
        )
        pruned.append((a, b))
        scales.append(f.A.abs().sum(1) / a.abs().sum(1))
    total = sum(scales) if normalize else torch.ones(4, dtype=torch.float64)
    expected = sum(
        2 * w * b @ torch.diag(s / total) @ a
        for w, (a, b), s in zip(inputs.weights, pruned, scales, strict=True)
    )
    got = merge("robustmerge-paper", inputs, density=0.3, normalize=normalize)
    torch.testing.assert_close(got, expected)


def test_robustmerge_paper_gain() -> None:
    inputs = stack(d_out=30, d_in=25)
    torch.testing.assert_close(
        merge("robustmerge-paper", inputs, gain=3), 1.5 * merge("robustmerge-paper", inputs)
    )


def test_robustmerge_paper_takes_unequal_ranks_and_dead_directions() -> None:
    A = torch.tensor([[9.0, 8, 7, 6, 5], [0.1, 0.2, 0.3, 0.4, 0.5]])
    inputs = Stack.of([Factors(A, torch.ones(3, 2)), factors(3, 5, 4, seed=1)])
    assert merge("robustmerge-paper", inputs).isfinite().all()


def test_worked_numbers_of_the_sum_and_of_averaged_factors() -> None:
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[2.0], [0]]))
    second = Factors(torch.tensor([[0.0, 1]]), torch.tensor([[0.0], [4]]))
    inputs = Stack.of([first, second], [0.5, 0.5])
    total = merge("task-arithmetic", inputs)
    torch.testing.assert_close(total, torch.tensor([[1.0, 0], [0, 2]]))
    # Half of A times half of B: a quarter of each update, and two cross terms.
    torch.testing.assert_close(merge("average", inputs), torch.tensor([[0.5, 0.5], [1, 1]]))
