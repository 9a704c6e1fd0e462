"""RegMean against its worked example and against least squares on the activations themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack
from robustmerge.testing.cases import change_gauge

REGMEAN = MethodCase.of("regmean-rows", {"off_diagonal": 1.0})


def activations(d_in: int, tokens: Sequence[int]) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    mix = torch.randn(d_in, d_in, generator=g, dtype=torch.float64)
    return [
        torch.randn(n, d_in, generator=g, dtype=torch.float64) @ (mix + t * torch.eye(d_in))
        for t, n in enumerate(tokens)
    ]


def with_data(stack: Stack, inputs: Sequence[torch.Tensor]) -> Stack:
    """Add what `robustmerge collect` writes: the inputs as seen by all A."""
    rows = torch.cat([f.A for f in stack.factors]).double()
    data = tuple(
        {
            "gram": (X @ rows.T).T @ (X @ rows.T),
            "squares": X.square().sum(0),
            "count": torch.tensor([float(len(X))], dtype=torch.float64),
        }
        for X in inputs
    )
    return replace(stack, data=data)


def fitted(stack: Stack, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the best combination of the rows of all A, by least squares on every token."""
    rows = torch.cat([f.A for f in stack.factors])
    pairs = list(zip(stack.factors, inputs, stack.weights, strict=True))
    seen = torch.cat([w**0.5 * X @ rows.T for _, X, w in pairs])
    wanted = torch.cat([w**0.5 * X @ f.dense().T for f, X, w in pairs])
    return (torch.linalg.lstsq(seen, wanted, driver="gelsd").solution.T) @ rows


def worked() -> Stack:
    first, second = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    unit = torch.tensor([[1.0]])
    grams = [torch.tensor([[4.0, 2], [2, 4]]), torch.eye(2)]
    data = tuple(
        {"gram": G.double(), "squares": G.diagonal().double(), "count": torch.tensor([n]).double()}
        for G, n in zip(grams, (4.0, 1.0), strict=True)
    )
    return replace(Stack.of([Factors(first, unit), Factors(second, unit)]), data=data)


@pytest.mark.parametrize(("a", "expected"), [(1.0, [0.6667, 0.3333]), (0.9, [0.6875, 0.3125])])
def test_worked_numbers(a: float, expected: list[float]) -> None:
    merged = MethodCase.of("regmean-rows", {"off_diagonal": a}).merge(worked())
    torch.testing.assert_close(merged, torch.tensor([expected]).double(), atol=1e-4, rtol=0)


def test_it_is_least_squares_on_the_activations() -> None:
    stacked = random_stack(20, 15, (3, 2, 3), weights=(1, 0.5, 2))
    inputs = activations(15, (40, 30, 50))
    merged = REGMEAN.merge(with_data(stacked, inputs))
    torch.testing.assert_close(merged, fitted(stacked, inputs), atol=1e-8, rtol=1e-8)


def test_nothing_nearby_that_adapters_can_express_is_better() -> None:
    stacked = random_stack(20, 15, (3, 2, 3))
    inputs = activations(15, (40, 30, 50))
    merged = REGMEAN.merge(with_data(stacked, inputs))
    rows = torch.cat([f.A for f in stacked.factors])

    def error(delta: torch.Tensor) -> float:
        pairs = zip(stacked.factors, inputs, strict=True)
        return sum(float(((delta - f.dense()) @ X.T).square().sum()) for f, X in pairs)

    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = merged + 1e-3 * torch.randn(20, 8, generator=g, dtype=torch.float64) @ rows
        assert error(other) > error(merged)


@pytest.mark.parametrize("a", [1.0, 0.9, 0.0])
def test_where_the_adapters_span_all_inputs_it_is_regmean_on_full_matrices(a: float) -> None:
    stacked = random_stack(12, 7, (3, 2, 4), weights=(1, 0.5, 2))
    inputs = activations(7, (40, 30, 50))
    numerator, total = torch.zeros(12, 7).double(), torch.zeros(7, 7).double()
    for f, X, w in zip(stacked.factors, inputs, stacked.weights, strict=True):
        G = X.T @ X
        G = a * G + (1 - a) * torch.diag(G.diagonal())
        numerator, total = numerator + w * f.dense() @ G, total + w * G
    merged = MethodCase.of("regmean-rows", {"off_diagonal": a}).merge(with_data(stacked, inputs))
    expected = numerator @ torch.linalg.inv(total)
    torch.testing.assert_close(merged, expected, atol=1e-8, rtol=1e-8)


def test_off_diagonal_entries_are_those_of_the_inputs_not_of_the_core() -> None:
    stacked = random_stack(20, 15, (3, 2, 3))
    inputs = activations(15, (40, 30, 50))
    # Tokens whose moments are the multiplied ones.
    moments = [0.9 * X.T @ X + 0.1 * torch.diag((X.T @ X).diagonal()) for X in inputs]
    tokens = [torch.linalg.cholesky(G).T for G in moments]
    merged = MethodCase.of("regmean-rows").merge(with_data(stacked, inputs))
    torch.testing.assert_close(merged, fitted(stacked, tokens), atol=1e-8, rtol=1e-8)


def test_per_token_takes_means_instead_of_sums() -> None:
    case = MethodCase.of("regmean-rows", {"off_diagonal": 1.0, "per_token": True})
    stacked = random_stack(20, 15, (3, 2, 3))
    inputs = activations(15, (40, 30, 50))
    expected = fitted(stacked, [X / len(X) ** 0.5 for X in inputs])
    merged = case.merge(with_data(stacked, inputs))
    torch.testing.assert_close(merged, expected, atol=1e-8, rtol=1e-8)
    # Twice the same samples are then no change.
    inputs[0] = torch.cat([inputs[0], inputs[0]])
    torch.testing.assert_close(case.merge(with_data(stacked, inputs)), merged)


def test_all_weights_doubled_are_no_change() -> None:
    stacked = random_stack(20, 15, (3, 2, 3))
    first, second = (
        MethodCase.of("regmean-rows").merge(stacked.reweighted((w, w, w))) for w in (1.0, 2.0)
    )
    torch.testing.assert_close(first, second)


def test_one_adapter_and_equal_adapters_merge_to_themselves() -> None:
    first = random_stack(20, 15, (3,)).factors[0]
    torch.testing.assert_close(
        MethodCase.of("regmean-rows").merge(Stack.of([first])), first.dense()
    )
    twice = Stack.of([first, change_gauge(first, 1)])
    torch.testing.assert_close(MethodCase.of("regmean-rows").merge(twice), first.dense())


def test_what_no_sample_shows_gets_the_least_update_in_any_gauge() -> None:
    stacked = random_stack(20, 15, (3, 2, 3))
    inputs = activations(15, (2, 1, 2))
    merged = REGMEAN.merge(with_data(stacked, inputs))
    other = replace(
        stacked, factors=tuple(change_gauge(f, t) for t, f in enumerate(stacked.factors))
    )
    torch.testing.assert_close(
        REGMEAN.merge(with_data(other, inputs)), merged, atol=1e-7, rtol=1e-7
    )
    assert int(torch.linalg.matrix_rank(merged)) == 5
    for f, X in zip(stacked.factors, inputs, strict=True):
        torch.testing.assert_close(merged @ X.T, f.dense() @ X.T, atol=1e-7, rtol=1e-7)


def test_nearly_equal_inputs_are_told_apart() -> None:
    first, second = random_stack(20, 15, (3, 3)).factors
    near = Stack.of([first, Factors(first.A + 1e-4 * second.A, second.B)])
    inputs = activations(15, (40, 30))
    merged = REGMEAN.merge(with_data(near, inputs))
    torch.testing.assert_close(merged, fitted(near, inputs), atol=1e-4, rtol=1e-4)
    apart = float((merged - fitted(near, inputs)).norm() / merged.norm())
    assert apart < 1e-6


@pytest.mark.parametrize("gap", [1e-2, 1e-5])
def test_few_samples_of_nearly_equal_inputs(gap: float) -> None:
    first, second = random_stack(20, 15, (3, 3)).factors
    near = Stack.of([first, Factors(first.A + gap * second.A, second.B)])
    inputs = activations(15, (2, 2))
    Q = torch.linalg.qr(torch.cat([f.A for f in near.factors]).T).Q
    seen = torch.cat([X @ Q for X in inputs])
    wanted = torch.cat([X @ f.dense().T for f, X in zip(near.factors, inputs, strict=True)])
    expected = torch.linalg.pinv(seen) @ wanted
    merged = REGMEAN.merge(with_data(near, inputs))
    assert float((merged - (Q @ expected).T).norm() / expected.norm()) < 1e-3


@pytest.mark.parametrize("name", ["gram", "squares", "count"])
def test_missing_data_are_named(name: str) -> None:
    stacked = worked()
    lacking = replace(
        stacked, data=tuple({k: v for k, v in d.items() if k != name} for d in stacked.data)
    )
    case = MethodCase.of("regmean-rows", {"per_token": True})
    with pytest.raises(MergeError, match=name) as caught:
        case.merge(lacking)
    assert "robustmerge collect" in caught.value.hint


def test_no_data_at_all_and_data_of_other_adapters() -> None:
    method, stacked = REGMEAN.method, random_stack(20, 15, (3, 2))
    with pytest.raises(MergeError, match="needs") as caught:
        method(stacked, **REGMEAN.settings)
    assert "robustmerge collect" in caught.value.hint
    other = with_data(random_stack(20, 15, (3, 3)), activations(15, (4, 4)))
    with pytest.raises(MergeError, match=r"shape \[6, 6\]; these adapters need \[5, 5\]"):
        method(replace(stacked, data=other.data), **REGMEAN.settings)


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="negative"):
        REGMEAN.merge(random_stack(20, 15, (3, 2), weights=(1, -1)))
    with pytest.raises(MergeError, match="sum to zero"):
        REGMEAN.merge(random_stack(20, 15, (3, 2), weights=(0, 0)))
