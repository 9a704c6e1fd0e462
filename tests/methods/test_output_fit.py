"""Output fit against its worked example and against least squares on the outputs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given as cases, strategies as st

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.methods import get
from robustmerge.testing import MethodCase, random_stack

FIT = MethodCase.of("output-fit")
Inputs = Sequence[torch.Tensor]


def tokens(d_in: int, counts: Sequence[int], seed: int = 3) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d_in, d_in, generator=g, dtype=torch.float64)
    return [
        torch.randn(n, d_in, generator=g, dtype=torch.float64) @ (mix + t * torch.eye(d_in))
        for t, n in enumerate(counts)
    ]


def with_data(stack: Stack, inputs: Inputs) -> Stack:
    """Add what `robustmerge collect` writes: second moments of the inputs as seen by all A."""
    rows = torch.cat([f.A for f in stack.factors]).double()
    seen = [X @ rows.T for X in inputs]
    return replace(stack, data=tuple({"gram": Z.T @ Z} for Z in seen))


def outputs(stack: Stack, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all adapters' outputs on every task, and the wanted ones, which are of size 1."""
    columns, wanted = [], []
    for f, X, w in zip(stack.factors, inputs, stack.weights, strict=True):
        unit = w**0.5 / (X @ f.dense().T).norm()
        columns.append(torch.stack([(X @ g.dense().T).flatten() for g in stack.factors], 1) * unit)
        wanted.append((X @ f.dense().T).flatten() * unit)
    return torch.cat(columns), torch.cat(wanted)


def total(stack: Stack, c: torch.Tensor) -> torch.Tensor:
    return sum((x * f.dense() for x, f in zip(c, stack.factors, strict=True)), torch.zeros(()))


def test_worked_numbers() -> None:
    """Two updates of one output; the second task's input has a part in both."""
    updates = [Factors(torch.tensor([[1.0, 0]]).double(), torch.ones(1, 1).double())]
    updates += [Factors(torch.tensor([[0, 1.0]]).double(), torch.ones(1, 1).double())]
    inputs = [torch.tensor([[1.0, 0]]).double(), torch.tensor([[1.0, 1]]).double()]
    # Errors (c_1 - 1)² and (c_1 + c_2 - 1)²: both are 0 with the first alone.
    merged = FIT.merge(with_data(Stack.of(updates), inputs))
    torch.testing.assert_close(merged, torch.tensor([[1.0, 0]]).double())


def test_it_is_least_squares_on_the_outputs() -> None:
    stack = random_stack(20, 15, (3, 2, 4), weights=(1, 0.5, 2))
    inputs = tokens(15, (40, 5, 50))
    seen, wanted = outputs(stack, inputs)
    c = torch.linalg.lstsq(seen, wanted[:, None], driver="gelsd").solution[:, 0]
    merged = FIT.merge(with_data(stack, inputs))
    torch.testing.assert_close(merged, total(stack, c), atol=1e-8, rtol=1e-8)


@cases(seed=st.integers(0, 99), count=st.integers(2, 5))
def test_nonnegative_coefficients_fulfill_the_conditions_of_a_minimum(
    seed: int, count: int
) -> None:
    stack = random_stack(6, 5, (2,) * count, seed=seed)
    # Opposite adapters on alike inputs, so that some coefficients want to be negative.
    f = stack.factors[0]
    stack = Stack.of([*stack.factors, Factors(f.A, -0.5 * f.B + 0.1 * stack.factors[-1].B)])
    inputs = tokens(5, (3,) * (count + 1), seed)
    data = with_data(stack, inputs)
    case = MethodCase.of("output-fit", {"sign": "nonnegative"})
    vectors = torch.stack([f.dense().flatten() for f in stack.factors], 1)
    c = torch.linalg.lstsq(vectors, case.merge(data).flatten()[:, None]).solution[:, 0]
    seen, wanted = outputs(stack, inputs)
    slope = seen.T @ (wanted - seen @ c)
    assert bool((c > -1e-8).all())
    assert bool((slope < 1e-7).all())
    assert float((slope * c).abs().max()) < 1e-7


def test_one_model_wide_coefficient_fits_all_modules_together() -> None:
    stacks = [random_stack(20, 15, (3, 2), seed=1), random_stack(9, 12, (2, 2), seed=2)]
    inputs = [tokens(15, (40, 30)), tokens(12, (40, 30))]
    data = [with_data(s, X) for s, X in zip(stacks, inputs, strict=True)]
    method, settings = get("output-fit"), get("output-fit").configure({"scope": "model"})
    assert method.survey is not None
    surveyed = method.survey(lambda work: map(work, data), [settings, settings])
    parts = []
    for t in (0, 1):
        of = [
            [(X[t] @ g.dense().T).flatten() for g in s.factors]
            for s, X in zip(stacks, inputs, strict=True)
        ]
        joined = torch.stack([torch.cat(both) for both in zip(*of, strict=True)], 1)
        parts.append(joined / joined[:, t].norm())
    wanted = torch.cat([part[:, t] for t, part in enumerate(parts)])
    c = torch.linalg.lstsq(torch.cat(parts), wanted[:, None]).solution[:, 0]
    for stack, module in zip(stacks, data, strict=True):
        merged = method(module, **settings, surveyed=surveyed)
        assert isinstance(merged, Factors)
        torch.testing.assert_close(merged.dense(), total(stack, c), atol=1e-8, rtol=1e-8)
    with pytest.raises(MergeError, match="whole model"):
        method(data[0], **settings)


def test_adapters_that_do_not_meet_are_summed_and_equal_ones_averaged() -> None:
    eye = torch.eye(6).double()
    apart = [Factors(eye[:2], eye[:, :2]), Factors(eye[2:4], eye[:, 2:4])]
    inputs = [torch.cat([eye[:2], eye[4:]]), torch.cat([eye[2:4], eye[4:]])]
    merged = FIT.merge(with_data(Stack.of(apart), inputs))
    torch.testing.assert_close(merged, apart[0].dense() + apart[1].dense())
    single = random_stack(20, 15, (3,)).factors[0]
    for stack in (Stack.of([single]), Stack.of([single, single])):
        torch.testing.assert_close(FIT.merge(stack), single.dense())


def test_the_number_of_tokens_does_not_matter() -> None:
    stack = random_stack(20, 15, (3, 2))
    inputs = tokens(15, (40, 30))
    once = FIT.merge(with_data(stack, inputs))
    inputs[0] = torch.cat([inputs[0]] * 3)
    torch.testing.assert_close(FIT.merge(with_data(stack, inputs)), once)


def test_negative_weights_and_missing_data_are_refused() -> None:
    with pytest.raises(MergeError, match="negative"):
        FIT.merge(random_stack(20, 15, (3, 2), weights=(1, -1)))
    with pytest.raises(MergeError, match="gram"):
        FIT.method(random_stack(20, 15, (3, 2)), **FIT.settings)
