"""ACTMerge against its dense definition."""

from __future__ import annotations

import torch

from factories.dense_interference import deltas_of
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

ACT = MethodCase.of("act")


def test_the_core_equals_the_dense_definition() -> None:
    inputs = random_stack(40, 60, (3, 2, 3, 1), weights=(1, 0.5, 2, -1))
    deltas = deltas_of(inputs)
    G = deltas.mT @ deltas
    expected = (deltas @ G).sum(0) @ torch.linalg.pinv(G.sum(0), rtol=1e-10, hermitian=True)
    torch.testing.assert_close(ACT.merge(inputs), expected, atol=1e-9, rtol=1e-9)


def test_nothing_nearby_is_better() -> None:
    inputs = random_stack(20, 15, (6, 5, 6))
    deltas, merged = deltas_of(inputs), ACT.merge(inputs)

    def loss(delta: torch.Tensor) -> torch.Tensor:
        return ((delta - deltas) @ deltas.mT).square().sum()

    least = loss(merged)
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = merged + 1e-3 * torch.randn(20, 15, generator=g, dtype=torch.float64)
        assert loss(other) > least


def test_one_direction_is_a_mean_weighted_by_squared_norms() -> None:
    a = torch.tensor([[1.0, 0]])
    inputs = Stack.of([Factors(a, torch.tensor([[1.0]])), Factors(a, torch.tensor([[3.0]]))])
    torch.testing.assert_close(ACT.merge(inputs), torch.tensor([[(1 + 27) / (1 + 9), 0]]).double())


def test_one_adapter_and_adapters_that_read_different_inputs() -> None:
    eye = torch.eye(6).double()
    inputs = Stack.of([Factors(eye[:2], eye[:, :2]), Factors(eye[2:4], 3 * eye[:, 1:3])])
    torch.testing.assert_close(ACT.merge(inputs), deltas_of(inputs).sum(0))
    first = random_stack(10, 8, (3,))
    torch.testing.assert_close(ACT.merge(first), deltas_of(first)[0])


def test_a_ridge_in_units_of_the_mean_squared_norm() -> None:
    inputs = random_stack(20, 15, (3, 2, 3))
    deltas = deltas_of(inputs)
    G = deltas.mT @ deltas
    size = deltas.square().sum() / 3
    ridged = G.sum(0) + 0.1 * size * torch.eye(15).double()
    expected = (deltas @ G).sum(0) @ torch.linalg.inv(ridged)
    result = MethodCase.of("act", {"ridge": 0.1}).merge(inputs)
    torch.testing.assert_close(result, expected, atol=1e-9, rtol=1e-9)
