"""MetaGPT and inverse norms: coefficients from the norms of the whole model or of one module."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

POWERS = {"metagpt": 2, "inverse-norm": -1}
WEIGHTS = (1.0, -0.5, 2.0)


def expected(stack: Stack, norms: list[Tensor], power: int) -> Tensor:
    by = [n**power for n in norms]
    parts = zip(by, stack.weights, stack.factors, strict=True)
    return sum((b / sum(by) * w * f.dense() for b, w, f in parts), torch.zeros(stack.shape))


def merged(name: str, stack: Stack, surveyed: object) -> Tensor:
    result = methods.get(name)(stack, surveyed=surveyed)
    assert isinstance(result, Factors)
    return result.dense()


@pytest.mark.parametrize("name", list(POWERS))
def test_a_module_by_itself_is_the_dense_definition(name: str) -> None:
    inputs = random_stack(30, 20, (3, 2, 4), weights=WEIGHTS)
    norms = [f.dense().norm() for f in inputs.factors]
    result = MethodCase.of(name, {"scope": "module"}).merge(inputs)
    torch.testing.assert_close(result, expected(inputs, norms, POWERS[name]))


@pytest.mark.parametrize("name", list(POWERS))
def test_the_whole_model_is_one_vector(name: str) -> None:
    """Check a missing module and unequal weights, too."""
    first = random_stack(30, 20, (3, 2, 4), weights=WEIGHTS)
    second = random_stack(12, 9, (1, 0, 5), seed=1)
    survey = methods.get(name).survey
    assert survey is not None
    surveyed = survey(
        lambda work: map(work, [first, second]), [{"scope": "model"}, {"scope": "module"}]
    )
    pairs = zip(first.factors, second.factors, strict=True)
    norms = [torch.cat([f.dense().flatten() for f in pair]).norm() for pair in pairs]
    for stack in (first, second):
        result = merged(name, stack, surveyed)
        torch.testing.assert_close(result, expected(stack, norms, POWERS[name]))


@pytest.mark.parametrize("name", list(POWERS))
def test_the_whole_model_must_have_been_seen(name: str) -> None:
    with pytest.raises(MergeError, match="scope=model looks at the whole model"):
        methods.get(name)(random_stack())
    survey = methods.get(name).survey
    assert survey is not None
    assert survey(lambda work: map(work, [random_stack()]), [{"scope": "module"}]) is None


def test_worked_numbers() -> None:
    """Norms 1 and 3."""
    a = torch.tensor([[1.0, 0.0]]).double()
    b = torch.tensor([[0.0, 3.0]]).double()
    first = torch.ones(1, 1).double()
    stack = Stack.of([Factors(a, first), Factors(b, first)])
    result = {name: MethodCase.of(name).merge(stack) for name in POWERS}
    torch.testing.assert_close(result["metagpt"], torch.tensor([[0.1, 2.7]]).double())
    torch.testing.assert_close(result["inverse-norm"], torch.tensor([[0.75, 0.75]]).double())


@pytest.mark.parametrize("name", list(POWERS))
def test_a_zero_adapter_has_no_part_in_the_coefficients(name: str) -> None:
    inputs = random_stack(30, 20, (3, 2))
    zero = Factors(inputs.factors[0].A * 0, inputs.factors[0].B)
    result = MethodCase.of(name).merge(Stack.of([*inputs.factors, zero]))
    torch.testing.assert_close(result, MethodCase.of(name).merge(inputs))


@pytest.mark.parametrize("name", list(POWERS))
def test_norms_survive_factors_that_nearly_cancel(name: str) -> None:
    """Take A = [a; a + 1e-6 b], B = [c, -c]: a norm by Gram matrices would be rounding."""
    f = random_stack(30, 20, (2,)).factors[0]
    a, b = f.A
    A = torch.stack([a, a + 1e-6 * b])
    hard = Factors(A, torch.stack([f.B[:, 0], -f.B[:, 0]], dim=1))
    easy = replace(hard, A=-1e-6 * b[None], B=f.B[:, :1])
    other = random_stack(30, 20, (1,), seed=3).factors[0].scaled(1e-6)
    result, plain = (MethodCase.of(name).merge(Stack.of([x, other])) for x in (hard, easy))
    torch.testing.assert_close(result, plain, atol=0, rtol=1e-6)
