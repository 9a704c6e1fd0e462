"""Magnitude pruning against the definition written slowly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from factories.adapters import stack
from robustmerge import methods
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise import _entries

PRUNE = methods.get("magnitude-prune")


def largest(x: Tensor, density: float) -> Tensor:
    """x with all but its int(n density) largest entries set to zero, one after the other."""
    keep = int(x.numel() * density)
    order = sorted(range(x.numel()), key=lambda i: -abs(float(x.flatten()[i])))
    kept = torch.zeros(x.numel(), dtype=x.dtype)
    for i in order[:keep]:
        kept[i] = x.flatten()[i]
    return kept.view(x.shape)


@pytest.mark.parametrize("density", [0.01, 0.29, 0.7, 1.0])
def test_deltas_by_the_definition(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 30)
    inputs = stack(ranks=(3, 0, 5), weights=(1, 2, -0.5), dtype=torch.float64)
    result = PRUNE(inputs, density=density, space="delta")
    assert isinstance(result, Dense)
    kept = [
        w * largest(f.dense(), density) for f, w in zip(inputs.factors, inputs.weights, strict=True)
    ]
    torch.testing.assert_close(result.delta, kept[0] + kept[1] + kept[2])


@pytest.mark.parametrize("density", [0.01, 0.29, 0.7, 1.0])
def test_factors_by_the_definition_at_each_adapters_own_rank(density: float) -> None:
    plain = stack(ranks=(3, 5), weights=(0.5, -2), dtype=torch.float64)
    inputs = replace(plain, scalings=(8.0, 0.125))
    result = PRUNE(inputs, density=density)
    assert isinstance(result, Factors)
    first, second = plain.factors
    A = [2 * largest(first.A, density), -0.5 * largest(second.A, density)]
    B = [2 * largest(first.B / 8, density), 0.5 * largest(second.B * 8, density)]
    a, b = Factors(A[0], B[0]).pad(5), Factors(A[1], B[1])
    torch.testing.assert_close(result.A, a.A + b.A)
    torch.testing.assert_close(result.B, a.B + b.B)


@pytest.mark.parametrize("space", ["factor", "delta"])
def test_less_than_one_entry_is_none(space: str) -> None:
    result = PRUNE(stack(d_out=5, d_in=5, ranks=(2, 2)), density=0.03, space=space)
    parts = [result.delta] if isinstance(result, Dense) else [result.A, result.B]  # type: ignore[union-attr]
    assert not any(x.any() for x in parts)


def test_equal_magnitudes_at_the_threshold_are_all_kept() -> None:
    f = Factors(torch.tensor([[1.0, -1.0, 0.5, 2.0]]), torch.ones(1, 1))
    result = PRUNE(Stack.of([f]), density=0.5, space="delta")
    assert isinstance(result, Dense)
    assert result.delta.tolist() == [[1.0, -1.0, 0.0, 2.0]]
