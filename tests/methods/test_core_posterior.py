"""The core posterior against its normal equations, written densely."""

from __future__ import annotations

import pytest
import torch

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


def dense(given: Stack, tau: float, start: str) -> torch.Tensor:
    """Return all d_out d_in equations at once."""
    deltas = [f.dense() for f in given.factors]
    total = sum(w * d for w, d in zip(given.weights, deltas, strict=True))
    assert isinstance(total, torch.Tensor)
    prior = {"mean": total / sum(given.weights), "sum": total, "zero": 0 * total}[start]
    size = total.numel()
    equations = tau * torch.eye(size).double()
    for w, d in zip(given.weights, deltas, strict=True):
        left, right = d @ torch.linalg.pinv(d), torch.linalg.pinv(d) @ d
        equations += w * torch.kron(left, right)
    found = torch.linalg.solve(equations, (tau * prior + total).flatten())
    return found.view(total.shape)


@pytest.mark.parametrize("start", ["mean", "sum", "zero"])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_core_equals_the_dense_equations(tau: float, start: str) -> None:
    given = random_stack(9, 11, (2, 1, 3), weights=(1, 0.5, 2))
    found = MethodCase.of("core-posterior", {"tau": tau, "start": start}).merge(given)
    torch.testing.assert_close(found, dense(given, tau, start), rtol=1e-9, atol=1e-9)


def test_alone_in_its_directions_an_adapter_is_kept_as_tau_vanishes() -> None:
    eye = torch.eye(6).double()
    updates = [Factors(eye[:2], 3 * eye[:, :2]), Factors(eye[2:4], eye[:, 3:5])]
    found = MethodCase.of("core-posterior", {"tau": 1e-9}).merge(Stack.of(updates))
    torch.testing.assert_close(found, updates[0].dense() + updates[1].dense())


def test_where_adapters_share_their_directions_it_is_their_mean() -> None:
    one, two = random_stack(8, 8, (3, 3)).factors
    same = [Factors(one.A, one.B), Factors(one.A, 3 * one.B)]
    for start in ("mean", "zero"):
        found = MethodCase.of("core-posterior", {"tau": 1e-9, "start": start}).merge(Stack.of(same))
        torch.testing.assert_close(found, 2 * one.dense(), rtol=1e-6, atol=1e-6)
    assert two.rank == 3


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="must not be negative"):
        MethodCase.of("core-posterior").merge(random_stack(weights=(1, -1, 1)))
