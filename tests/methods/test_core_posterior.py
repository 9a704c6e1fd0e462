"""The core posterior against its normal equations, written densely."""

from __future__ import annotations

import pytest
import torch

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


def dense(inputs: Stack, tau: float, start: str) -> torch.Tensor:
    """Return all d_out d_in equations at once."""
    deltas = [f.dense() for f in inputs.factors]
    total = sum(w * d for w, d in zip(inputs.weights, deltas, strict=True))
    assert isinstance(total, torch.Tensor)
    prior = {"mean": total / sum(inputs.weights), "sum": total, "zero": 0 * total}[start]
    size = total.numel()
    equations = tau * torch.eye(size).double()
    for w, d in zip(inputs.weights, deltas, strict=True):
        left, right = d @ torch.linalg.pinv(d), torch.linalg.pinv(d) @ d
        equations += w * torch.kron(left, right)
    result = torch.linalg.solve(equations, (tau * prior + total).flatten())
    return result.view(total.shape)


@pytest.mark.parametrize("start", ["mean", "sum", "zero"])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_core_equals_the_dense_equations(tau: float, start: str) -> None:
    inputs = random_stack(9, 11, (2, 1, 3), weights=(1, 0.5, 2))
    result = MethodCase.of("core-posterior", {"tau": tau, "start": start}).merge(inputs)
    torch.testing.assert_close(result, dense(inputs, tau, start), rtol=1e-9, atol=1e-9)


def test_alone_in_its_directions_an_adapter_is_kept_as_tau_vanishes() -> None:
    eye = torch.eye(6).double()
    updates = [Factors(eye[:2], 3 * eye[:, :2]), Factors(eye[2:4], eye[:, 3:5])]
    result = MethodCase.of("core-posterior", {"tau": 1e-9}).merge(Stack.of(updates))
    torch.testing.assert_close(result, updates[0].dense() + updates[1].dense())


def test_where_adapters_share_their_directions_it_is_their_mean() -> None:
    first, second = random_stack(8, 8, (3, 3)).factors
    same = [Factors(first.A, first.B), Factors(first.A, 3 * first.B)]
    for start in ("mean", "zero"):
        result = MethodCase.of("core-posterior", {"tau": 1e-9, "start": start}).merge(
            Stack.of(same)
        )
        torch.testing.assert_close(result, 2 * first.dense(), rtol=1e-6, atol=1e-6)
    assert second.rank == 3


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="must not be negative"):
        MethodCase.of("core-posterior").merge(random_stack(weights=(1, -1, 1)))
