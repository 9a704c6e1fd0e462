"""RegMean with any inputs, against its formula on full matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustmerge import methods
from robustmerge.factors import Lifted, Stack
from robustmerge.linalg import fit
from robustmerge.statistic_kinds import SKETCHED
from robustmerge.testing import MethodCase, random_stack

D_OUT, D_IN = 20, 15
WEIGHTS = (1.0, 0.5, 2.0)


def sketches(d_in: int, tasks: int) -> list[dict[str, Tensor]]:
    """Moments such as `collect` writes; more inputs than are sketched leave a rest."""
    result = []
    for t in range(tasks):
        g = torch.Generator().manual_seed(t)
        rest = torch.rand(d_in, generator=g).double() if d_in > SKETCHED else torch.zeros(d_in)
        result.append(
            {
                "sketch": torch.randn(min(SKETCHED, d_in), d_in, generator=g).double() + t,
                "rest": rest.double(),
                "tokens": torch.tensor([10.0 * (t + 1)]).double(),
            }
        )
    return result


def full(table: dict[str, Tensor], a: float) -> Tensor:
    """Return G_t with its entries off the diagonal multiplied."""
    G = table["sketch"].T @ table["sketch"] + table["rest"].diag()
    return a * G + (1 - a) * G.diagonal().diag()


def defined(stack: Stack, data: Sequence[dict[str, Tensor]], a: float, ridge: float) -> Tensor:
    d_out, d_in = stack.shape
    wanted, total = torch.zeros(d_out, d_in).double(), torch.zeros(d_in, d_in).double()
    for f, table, weight in zip(stack.factors, data, stack.weights, strict=True):
        G = full(table, a) * weight / sum(stack.weights)
        wanted, total = wanted + f.dense() @ G, total + G
    return wanted @ torch.linalg.inv(total + ridge * total.trace() / d_in * torch.eye(d_in))


def case(d_in: int = D_IN) -> tuple[Stack, list[dict[str, Tensor]]]:
    stack, data = random_stack(D_OUT, d_in, (3, 2, 3), weights=WEIGHTS), sketches(d_in, 3)
    return replace(stack, data=tuple(data)), data


@pytest.mark.parametrize("d_in", [D_IN, 2 * SKETCHED])
@pytest.mark.parametrize(("a", "ridge"), [(0.9, 0.0), (0.5, 0.1), (0.0, 0.0), (1.0, 0.01)])
def test_it_is_the_formula_on_full_matrices(d_in: int, a: float, ridge: float) -> None:
    stack, data = case(d_in)
    merged = MethodCase.of("regmean", {"off_diagonal": a, "ridge": ridge}).merge(stack)
    torch.testing.assert_close(merged, defined(stack, data, a, ridge), rtol=1e-6, atol=1e-6)


def test_without_a_ridge_off_the_diagonal_rounding_is_small() -> None:
    stack, data = case()
    merged = MethodCase.of("regmean", {"off_diagonal": 1.0}).merge(stack)
    torch.testing.assert_close(merged, defined(stack, data, 1.0, 0.0), rtol=1e-4, atol=1e-4)


def test_per_token_divides_by_the_tokens() -> None:
    stack, data = case()
    merged = MethodCase.of("regmean", {"per_token": True}).merge(stack)
    each = [
        {"sketch": t["sketch"] / t["tokens"] ** 0.5, "rest": t["rest"] / t["tokens"]} for t in data
    ]
    torch.testing.assert_close(merged, defined(stack, each, 0.9, 0.0), rtol=1e-6, atol=1e-6)


def test_a_single_adapter_comes_back() -> None:
    stack, data = case(2 * SKETCHED)
    alone = Stack.of(stack.factors[:1])
    merged = MethodCase.of("regmean").merge(replace(alone, data=tuple(data[:1])))
    torch.testing.assert_close(merged, alone.factors[0].dense(), rtol=1e-8, atol=1e-8)


def test_inputs_without_samples_and_modules_without_any_are_zero() -> None:
    stack, data = case()
    unseen = [{**t, "sketch": t["sketch"] * (torch.arange(D_IN) > 2)} for t in data]
    merged = MethodCase.of("regmean").merge(replace(stack, data=tuple(unseen)))
    assert merged[:, :3].abs().max() < 1e-12
    assert merged[:, 3:].abs().max() > 0.1
    none: list[dict[str, Any]] = [{k: 0 * v for k, v in t.items()} for t in data]
    assert not MethodCase.of("regmean").merge(replace(stack, data=tuple(none))).any()


@pytest.mark.parametrize("rank", [1, 3])
def test_the_fit_by_objective_is_the_best_of_its_rank(rank: int) -> None:
    stack, data = case()
    method = methods.get("regmean")
    update = method(stack, **method.configure({"cut": "objective"}))
    assert isinstance(update, Lifted)
    fitted = fit(update, rank)[0].dense()
    shares = [w / sum(WEIGHTS) for w in WEIGHTS]
    H = sum(w * full(t, 0.9) for t, w in zip(data, shares, strict=True))
    assert isinstance(H, Tensor)
    L, V = torch.linalg.eigh(H)
    root = V * L.sqrt() @ V.T
    P, E, Qt = torch.linalg.svd(update.dense() @ root, full_matrices=False)
    best = P[:, :rank] * E[:rank] @ Qt[:rank] @ torch.linalg.inv(root)
    torch.testing.assert_close(fitted, best, rtol=1e-6, atol=1e-6)
