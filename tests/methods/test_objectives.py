"""Methods with a quadratic objective can be cut to the best update of a rank in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robustmerge import methods
from robustmerge.factors import Factors, Lifted, Stack, noted
from robustmerge.linalg import fit
from robustmerge.testing import random_stack, statistics

METHODS = ("act", "ace", "wudi", "swudi", "aswudi", "optmerge", "regmean-rows", "core-posterior")
METHODS = (*METHODS, "regmean")
SETTINGS = [
    *((name, {}) for name in METHODS),
    ("wudi", {"solve": "exact", "ridge": 0.1}),
    ("act", {"ridge": 0.1}),
    ("swudi", {"density": 0.8, "start": "zero"}),
    ("optmerge", {"flavor": "modelcompose"}),
]


def stack_of(name: str) -> Stack:
    stack = random_stack(20, 15, (3, 2, 4))
    if not methods.get(name).needs:
        return stack
    return Stack(stack.module, stack.factors, stack.weights, stack.scalings, statistics(stack))


def merge(name: str, **settings: Any) -> Lifted:
    method = methods.get(name)
    update = noted(method(stack_of(name), **method.configure(settings))).update
    assert isinstance(update, Lifted)
    return update


def inside(update: Lifted, factors: Factors) -> Tensor:
    return update.B.Q.T @ factors.dense() @ update.A.Q


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_fit_is_nearer_in_the_objective(name: str, settings: dict[str, Any]) -> None:
    by_energy, mine = merge(name, **settings), merge(name, cut="objective", **settings)
    assert by_energy.measure is None
    assert mine.measure is not None
    torch.testing.assert_close(mine.M, by_energy.M, rtol=0, atol=0)
    for rank in (2, 4):
        fitted, kept = fit(mine, rank)
        error = mine.measure(inside(mine, fitted) - mine.M)
        assert error < mine.measure(inside(mine, fit(by_energy, rank)[0]) - mine.M)
        assert kept == pytest.approx(1 - error / mine.measure(mine.M))


def act(stack: Stack, delta: Tensor) -> Tensor:
    return sum(((delta - d) @ d.T).square().sum() for d in stack.dense())  # type: ignore[return-value]


def wudi(stack: Stack, delta: Tensor) -> Tensor:
    losses = [((delta - d) @ d.T).square().sum() / d.square().sum() for d in stack.dense()]
    return sum(losses) + 0.1 * delta.square().sum()  # type: ignore[return-value]


def core_posterior(stack: Stack, delta: Tensor) -> Tensor:
    prior = stack.dense().mean(0)
    loss = (delta - prior).square().sum()
    for d, rank in zip(stack.dense(), stack.ranks, strict=True):
        U, _, Vh = torch.linalg.svd(d)
        U, V = U[:, :rank], Vh[:rank].T
        loss = loss + (U.T @ (delta - d) @ V).square().sum()
    return loss


def regmean(stack: Stack, delta: Tensor) -> Tensor:
    rows = torch.cat([f.A for f in stack.factors])
    C = delta @ torch.linalg.pinv(rows)  # delta = C rows
    loss = torch.zeros(()).double()
    for t, f in enumerate(stack.factors):
        own = torch.zeros(stack.shape[0], len(rows)).double()
        start = sum(stack.ranks[:t])
        own[:, start : start + f.rank] = f.B
        G = 0.9 * stack.data[t]["gram"] + 0.1 * rows * stack.data[t]["squares"] @ rows.T
        loss = loss + ((C - own) @ G * (C - own)).sum() / 3
    return loss


@pytest.mark.parametrize(
    ("name", "settings", "objective"),
    [
        ("act", {}, act),
        ("wudi", {"solve": "exact", "ridge": 0.1}, wudi),
        ("core-posterior", {}, core_posterior),
        ("regmean-rows", {}, regmean),
    ],
)
def test_the_measure_is_the_objective_but_for_a_constant(
    name: str, settings: dict[str, Any], objective: Callable[[Stack, Tensor], Tensor]
) -> None:
    stack, update = stack_of(name), merge(name, cut="objective", **settings)
    assert update.measure is not None
    least = objective(stack, update.dense())
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        X = update.M + torch.randn(update.M.shape, generator=g).double()
        worse = objective(stack, Lifted(update.B, X, update.A).dense()) - least
        assert update.measure(X - update.M) == pytest.approx(float(worse), rel=1e-6)
