"""The rule `metric`: the factor that is best in DRIFT's measure of errors, written slowly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import robustmerge
from factories.adapters import adapter, deltas, trio
from robustmerge.factors import Dense, Factors, Stack, Update
from robustmerge.linalg import concat, core
from robustmerge.steps import measure
from robustmerge.steps.input_metric import InputMetric

D_OUT, D_IN, RANK = 9, 24, 2


@pytest.fixture
def stack() -> Stack:
    """Three updates whose A drifted from one start; three keep their norms."""
    g = torch.Generator().manual_seed(0)
    start = torch.rand(RANK, D_IN, generator=g).double() - 0.5
    factors = [
        Factors(
            start + 0.1 * torch.randn(RANK, D_IN, generator=g).double(),
            torch.randn(D_OUT, RANK, generator=g).double(),
        )
        for _ in range(3)
    ]
    return Stack.of(factors, weights=[1.0, 0.5, 2.0])


def best_factor(X: Tensor, stack: Stack) -> float:
    """Return the c with the least error of c X, from its definition on full matrices."""
    axes = torch.linalg.svd(torch.cat([f.A for f in stack.factors]), full_matrices=False)[2]
    mean = stack.A.mean(0)
    wanted = answered = 0.0
    for f, weight in zip(stack.factors, stack.weights, strict=True):
        moved = (f.A - mean) @ axes.T
        C = moved.T @ moved
        G = axes.T @ (C / C.trace() + 0.1 / len(axes) * torch.eye(len(axes)).double()) @ axes
        U = torch.linalg.svd(f.dense())[0][:, :RANK]
        L = 0.3 * torch.eye(D_OUT).double() + 0.7 * U @ U.T
        wanted += float((L @ (weight * f.dense()) @ G @ X.T).trace())
        answered += float((L @ X @ G @ X.T).trace())
    return wanted / answered


def updates(stack: Stack) -> dict[str, Update]:
    space, g = core(stack), torch.Generator().manual_seed(1)
    other = Dense(concat(stack).dense() + torch.randn(D_OUT, D_IN, generator=g).double())
    return {"sum": concat(stack), "core": space.lift(space.M.sum(0).sign()), "outside": other}


@pytest.mark.parametrize("kind", ["sum", "core", "outside"])
def test_the_factor_is_the_best_of_its_definition(kind: str, stack: Stack) -> None:
    update = updates(stack)[kind]
    metric = InputMetric.of(lambda work: map(work, [stack]))
    factor = measure(update, stack, metric).factor("metric")
    assert factor == pytest.approx(best_factor(update.dense().double(), stack))


def test_what_the_adapters_do_not_want_is_norm_matched(stack: Stack) -> None:
    update = concat(stack).scaled(-1.0)
    metric = InputMetric.of(lambda work: map(work, [stack]))
    sizes = measure(update, stack, metric)
    assert sizes.factor("metric") == sizes.factor("norm-matched") > 0


@pytest.mark.parametrize("over", ["model", "module"])
def test_drift_has_the_best_size_already(over: str, tmp_path: Path) -> None:
    folders, out = trio(tmp_path), tmp_path / "out"
    robustmerge.merge(
        folders,
        out,
        method="drift",
        scale="metric",
        scale_over=over,  # type: ignore[arg-type]
        rank="full",
        dtype="float32",
        caution=1.0,
    )
    modules = json.loads((out / "merge.json").read_text())["modules"].values()
    assert [m["scale"] for m in modules] == pytest.approx([1.0] * len(modules), rel=1e-6)
    assert deltas(out).keys() == deltas(folders[0]).keys()


def test_a_single_adapter_stays_as_it_is(tmp_path: Path) -> None:
    folder, out = adapter(tmp_path / "a"), tmp_path / "out"
    robustmerge.merge([folder], out, method="task-arithmetic", scale="metric", dtype="float32")
    for name, delta in deltas(out).items():
        torch.testing.assert_close(delta, deltas(folder)[name], rtol=1e-5, atol=1e-6)
