"""The entry-wise methods against mergekit's own, on deltas in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mergekit import sparsify
from mergekit.merge_methods.api import merge_tensors
from torch import Tensor

from robustmerge.factors import Factors, Stack
from robustmerge.methods.entrywise._drop import draw_integers, draw_kept
from robustmerge.testing import MethodCase

DENSITIES = (0.005, 0.3, 0.55, 1.0)
WEIGHTS = [(1.0, 1.0, 1.0), (2.0, 0.5, 0.0)]
NEGATIVE = (1.0, -0.5, 2.0)


def deltas(rows: int = 7, cols: int = 9) -> list[Tensor]:
    """Three updates, with entries that are zero in some and draws of signs."""
    g = torch.Generator().manual_seed(0)
    result = [torch.randn(rows, cols, generator=g).double() * (1 + t) for t in range(3)]
    for t, x in enumerate(result):
        x[2, t : t + 3] = 0
        x[0, 0] = (9.0, -9.0, 0.0)[t]
    return result


def stack(taus: list[Tensor], weights: tuple[float, ...] = WEIGHTS[0]) -> Stack:
    """Adapters whose deltas these are."""
    return Stack.of([Factors(tau, torch.eye(len(tau)).double()) for tau in taus], weights)


def theirs(taus: list[Tensor], method: str, **parameters: Any) -> Tensor:
    return merge_tensors(
        [torch.zeros_like(taus[0]), *taus], method, parameters=parameters, base_index=0
    )


def compare(inputs: Stack, name: str, method: str, ours: dict[str, Any], **kit: Any) -> Tensor:
    """Merge both ways."""
    result = MethodCase.of(name, {"space": "delta", **ours}).merge(inputs)
    expected = theirs([f.dense() for f in inputs.factors], method, **kit)
    # What is random goes through float32 in mergekit.
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    return result


def dares(bits: np.random.SFC64, p: Tensor) -> Tensor:
    return draw_kept(bits, float(p[0, 0]), p.numel()).view(p.shape)


def dellas(bits: np.random.SFC64, p: Tensor) -> Tensor:
    numbers = draw_integers(bits, p.numel(), np.uint32).astype(np.float64) / 2**32
    return torch.from_numpy(numbers).view(p.shape) < p


@pytest.fixture
def same_draws(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """mergekit draws with our numbers: adapter by adapter, against its own probabilities."""
    inputs, adapters = stack(deltas()), iter(range(3))
    draw = dellas if "della" in request.node.name else dares

    def bernoulli(p: Tensor) -> Tensor:
        return draw(inputs.bits(3, "delta/0", next(adapters)), p).to(p)

    monkeypatch.setattr(torch, "bernoulli", bernoulli)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("density", DENSITIES)
def test_ties(density: float, weights: tuple[float, ...]) -> None:
    inputs = stack(deltas(), weights)
    ours = {"flavor": "mergekit", "density": density}
    compare(inputs, "ties", "ties", ours, weight=list(weights), density=density)


@pytest.mark.usefixtures("same_draws")
@pytest.mark.parametrize("weights", [*WEIGHTS, NEGATIVE])
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize(("name", "method"), [("dare", "dare_linear"), ("dare-ties", "dare_ties")])
def test_dare(name: str, method: str, density: float, weights: tuple[float, ...]) -> None:
    inputs = stack(deltas(), weights)
    ours = {"flavor": "mergekit", "density": density, "seed": 3}
    compare(inputs, name, method, ours, weight=list(weights), density=density)


@pytest.mark.usefixtures("same_draws")
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("density", "epsilon"), [(0.2, 0.15), (0.7, 0.07), (0.5, 0.0), (1.0, 0.1)])
@pytest.mark.parametrize(("combine", "method"), [("ties", "della"), ("linear", "della_linear")])
def test_della(
    combine: str, method: str, density: float, epsilon: float, weights: tuple[float, ...]
) -> None:
    inputs = stack(deltas(), weights)
    numbers = {"density": density, "epsilon": epsilon}
    ours = {"flavor": "mergekit", "combine": combine, "seed": 3, **numbers}
    compare(inputs, "della", method, ours, weight=list(weights), **numbers)


@pytest.mark.parametrize("weights", [*WEIGHTS, NEGATIVE])
@pytest.mark.parametrize(
    ("density", "gamma"), [(0.005, 0.01), (0.3, 0.1), (0.9, 0.2), (0.5, 0.0), (1.0, 0.1)]
)
@pytest.mark.parametrize(
    ("combine", "method"), [("linear", "breadcrumbs"), ("ties", "breadcrumbs_ties")]
)
def test_breadcrumbs(
    combine: str, method: str, density: float, gamma: float, weights: tuple[float, ...]
) -> None:
    inputs = stack(deltas(), weights)
    numbers = {"density": density, "gamma": gamma}
    ours = {"flavor": "mergekit", "combine": combine, **numbers}
    compare(inputs, "breadcrumbs", method, ours, weight=list(weights), **numbers)


@pytest.mark.parametrize("density", DENSITIES)
def test_sce(density: float) -> None:
    compare(stack(deltas()), "sce", "sce", {"density": density}, select_topk=density)


def test_sce_of_small_updates_has_equal_coefficients_in_mergekit() -> None:
    """As its page says; entries of 1e-4 are what low-rank updates have."""
    small = [tau * 1e-4 for tau in deltas()]
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(
            theirs(small, "sce") * 1e4, theirs(deltas(), "sce"), atol=1e-5, rtol=1e-5
        )
    agree = theirs(small, "sce") * 1e4
    x = torch.stack(deltas())
    same = x.sign() == (x.sum(0) >= 0).double() * 2 - 1
    torch.testing.assert_close(agree, (x * same).sum(0) / same.sum(0).clamp_min(1))


@pytest.mark.parametrize("epsilon", [1e-6, 0.2, 0.7])
def test_ram(epsilon: float) -> None:
    inputs = stack(deltas())
    size = max(float(f.dense().square().mean().sqrt()) for f in inputs.factors)
    plain = compare(inputs, "ram", "ram", {"epsilon": epsilon}, epsilon=epsilon * size)
    ours = {"epsilon": epsilon, "plus": True, "r": 0.3, "alpha": 3.0}
    kit = {"epsilon": epsilon * size, "r": 0.3, "alpha": 3.0}
    plus = compare(inputs, "ram", "ramplus_tl", ours, **kit)
    assert not torch.equal(plain, plus)


@pytest.mark.parametrize("density", [0.02, 0.3, 0.55, 1.0])
def test_magnitude(density: float) -> None:
    for tau in deltas():
        result = MethodCase.of("magnitude-prune", {"space": "delta", "density": density}).merge(
            stack([tau], (1.0,))
        )
        torch.testing.assert_close(result, sparsify.magnitude(tau, density))


def test_task_arithmetic() -> None:
    inputs = stack(deltas(), NEGATIVE)
    result = MethodCase.of("task-arithmetic").merge(inputs)
    expected = theirs(deltas(), "task_arithmetic", weight=list(NEGATIVE))
    torch.testing.assert_close(result, expected)
