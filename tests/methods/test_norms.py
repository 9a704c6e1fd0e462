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
    found = methods.get(name)(stack, surveyed=surveyed)
    assert isinstance(found, Factors)
    return found.dense()


@pytest.mark.parametrize("name", list(POWERS))
def test_a_module_by_itself_is_the_dense_definition(name: str) -> None:
    given = random_stack(30, 20, (3, 2, 4), weights=WEIGHTS)
    norms = [f.dense().norm() for f in given.factors]
    found = MethodCase.of(name, {"scope": "module"}).merge(given)
    torch.testing.assert_close(found, expected(given, norms, POWERS[name]))


@pytest.mark.parametrize("name", list(POWERS))
def test_the_whole_model_is_one_vector(name: str) -> None:
    """Also where an adapter lacks a module, and under weights that differ."""
    one = random_stack(30, 20, (3, 2, 4), weights=WEIGHTS)
    two = random_stack(12, 9, (1, 0, 5), seed=1)
    survey = methods.get(name).survey
    assert survey is not None
    surveyed = survey(lambda: iter([one, two]), [{"scope": "model"}, {"scope": "module"}])
    pairs = zip(one.factors, two.factors, strict=True)
    norms = [torch.cat([f.dense().flatten() for f in pair]).norm() for pair in pairs]
    for stack in (one, two):
        found = merged(name, stack, surveyed)
        torch.testing.assert_close(found, expected(stack, norms, POWERS[name]))


@pytest.mark.parametrize("name", list(POWERS))
def test_the_whole_model_must_have_been_seen(name: str) -> None:
    with pytest.raises(MergeError, match="scope=model looks at the whole model"):
        methods.get(name)(random_stack())
    survey = methods.get(name).survey
    assert survey is not None
    assert survey(lambda: iter([random_stack()]), [{"scope": "module"}]) is None


def test_worked_numbers() -> None:
    """Norms 1 and 3."""
    a = torch.tensor([[1.0, 0.0]]).double()
    b = torch.tensor([[0.0, 3.0]]).double()
    one = torch.ones(1, 1).double()
    stack = Stack.of([Factors(a, one), Factors(b, one)])
    found = {name: MethodCase.of(name).merge(stack) for name in POWERS}
    torch.testing.assert_close(found["metagpt"], torch.tensor([[0.1, 2.7]]).double())
    torch.testing.assert_close(found["inverse-norm"], torch.tensor([[0.75, 0.75]]).double())


@pytest.mark.parametrize("name", list(POWERS))
def test_a_zero_adapter_has_no_part_in_the_coefficients(name: str) -> None:
    given = random_stack(30, 20, (3, 2))
    zero = Factors(given.factors[0].A * 0, given.factors[0].B)
    found = MethodCase.of(name).merge(Stack.of([*given.factors, zero]))
    torch.testing.assert_close(found, MethodCase.of(name).merge(given))


@pytest.mark.parametrize("name", list(POWERS))
def test_norms_survive_factors_that_nearly_cancel(name: str) -> None:
    """A = [a; a + 1e-6 b], B = [c, -c]: a norm by Gram matrices would be rounding."""
    f = random_stack(30, 20, (2,)).factors[0]
    a, b = f.A
    A = torch.stack([a, a + 1e-6 * b])
    hard = Factors(A, torch.stack([f.B[:, 0], -f.B[:, 0]], dim=1))
    easy = replace(hard, A=-1e-6 * b[None], B=f.B[:, :1])
    other = random_stack(30, 20, (1,), seed=3).factors[0].scaled(1e-6)
    found, plain = (MethodCase.of(name).merge(Stack.of([x, other])) for x in (hard, easy))
    torch.testing.assert_close(found, plain, atol=0, rtol=1e-6)
