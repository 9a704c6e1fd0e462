"""ACE-Merging against its definition on full deltas, homogeneous and heterogeneous."""

from __future__ import annotations

import pytest
import torch

from factories.dense_interference import deltas_of
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

ACE = MethodCase.of("ace")


def heterogeneity(deltas: torch.Tensor) -> float:
    logs = deltas.square().sum((1, 2)).log()
    return float(logs.var() / logs.mean() ** 2)


def dense(deltas: torch.Tensor, ridge: float, share: float) -> torch.Tensor:
    """Step by step as in the page, with matrices of full size."""
    d_out, d_in = deltas.shape[1:]
    mixed = heterogeneity(deltas) > 0.3
    numerator = torch.zeros(d_out, d_in).double()
    total = torch.zeros(d_in, d_in).double()
    covariances = []
    for delta in deltas:
        centered = delta - delta.mean(0)
        S, eps = centered.T @ centered, ridge
        if mixed:
            S, eps = S / S.trace(), ridge / float(S.trace())
        covariances.append(S)
        numerator += delta @ (S + eps * torch.eye(d_in).double())
        total += S + eps * torch.eye(d_in).double()
    prior = torch.stack(covariances).sum(0).mean(0).expand(d_in, d_in)
    if mixed:
        prior = prior / deltas.square().sum((1, 2)).mean()
    merged = numerator @ torch.linalg.inv(total + prior)
    if not mixed:
        return merged
    pairs = zip(deltas, covariances, strict=True)
    fused = merged + sum(d @ (S - total / len(deltas)) for d, S in pairs)
    U, s, Vh = torch.linalg.svd(fused)
    k = int(share * int((s > 1e-7 * s[0]).sum()))
    return merged + s[:k].mean() * U[:, :k] @ Vh[:k]


def mixed_stack() -> Stack:
    """Norms near 1 that differ by a factor of about 30."""
    parts = random_stack(20, 15, (3, 2, 3, 2)).factors
    sizes = [1 / 100, 1 / 20, 1 / 5, 1 / 3]
    return Stack.of([f.scaled(s) for f, s in zip(parts, sizes, strict=True)], [1.0, 0.5, -1.0, 1.0])


@pytest.mark.parametrize("ridge", [0.01, 30.0])
def test_the_core_equals_the_dense_definition(ridge: float) -> None:
    inputs = random_stack(40, 60, (3, 2, 3, 1), weights=(1, 0.5, 2, -1))
    deltas = deltas_of(inputs)
    assert heterogeneity(deltas) < 0.3
    merged = MethodCase.of("ace", {"ridge": ridge}).merge(inputs)
    torch.testing.assert_close(merged, dense(deltas, ridge, 0.3), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("density", "again"), [(0.3, ()), (0.6, ()), (0.6, (0, 1))], ids=str)
def test_heterogeneous_adapters_are_normalized_and_refined(
    density: float, again: tuple[int, ...]
) -> None:
    # An adapter that comes twice brings no new directions.
    inputs = mixed_stack()
    more = [inputs.factors[t].scaled(1.5) for t in again]
    inputs = Stack.of([*inputs.factors, *more], [*inputs.weights, *(1.0 for _ in more)])
    deltas = deltas_of(inputs)
    assert heterogeneity(deltas) > 0.3
    merged = MethodCase.of("ace", {"density": density}).merge(inputs)
    torch.testing.assert_close(merged, dense(deltas, 0.01, density), atol=1e-8, rtol=1e-8)


def test_the_threshold_decides() -> None:
    inputs = mixed_stack()
    homogeneous = MethodCase.of("ace", {"threshold": 1e6}).merge(inputs)
    assert float((ACE.merge(inputs) - homogeneous).norm() / homogeneous.norm()) > 0.1


def test_updates_that_are_zero_are_left_out() -> None:
    inputs = mixed_stack()
    zero = Factors(torch.ones(2, 15).double(), torch.zeros(20, 2).double())
    padded = Stack.of([*inputs.factors, zero], [*inputs.weights, 1.0])
    torch.testing.assert_close(ACE.merge(padded), ACE.merge(inputs))


def test_a_large_ridge_gives_the_mean() -> None:
    inputs = random_stack(20, 15, (3, 2, 3))
    merged = MethodCase.of("ace", {"ridge": 1e9}).merge(inputs)
    torch.testing.assert_close(merged, deltas_of(inputs).mean(0), atol=1e-4, rtol=1e-4)
