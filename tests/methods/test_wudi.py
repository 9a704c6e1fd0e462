"""WUDI against its worked example, its normal equations and torch's Adam."""

from __future__ import annotations

import pytest
import torch

from factories.dense_interference import deltas_of, loss, moments
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

WUDI = MethodCase.of("wudi", {"solve": "exact"})


def test_worked_numbers() -> None:
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[1.0], [0]]))
    second = Factors(torch.tensor([[2.0, 2]]), torch.tensor([[0.0], [1]]))
    inputs = Stack.of([first, second])
    deltas = deltas_of(inputs)
    merged = WUDI.merge(inputs)
    torch.testing.assert_close(merged, torch.tensor([[1.0, -1], [0, 4]]).double())
    torch.testing.assert_close(loss(deltas.sum(0), deltas), torch.tensor(4.5).double())
    torch.testing.assert_close(loss(merged, deltas), torch.tensor(0.0).double())


def test_the_core_equals_the_dense_definition() -> None:
    inputs = random_stack(40, 60, (3, 2, 3, 1), weights=(1, 0.5, 2, -1))
    C, G = moments(deltas_of(inputs))
    expected = G @ torch.linalg.pinv(C, rtol=1e-10, hermitian=True)
    torch.testing.assert_close(WUDI.merge(inputs), expected, atol=1e-9, rtol=1e-9)


def test_a_ridge_is_added_to_the_dense_normal_equations() -> None:
    inputs = random_stack(20, 15, (3, 2))
    C, G = moments(deltas_of(inputs))
    expected = G @ torch.linalg.inv(C + 0.1 * torch.eye(15).double())
    merged = MethodCase.of("wudi", {"solve": "exact", "ridge": 0.1}).merge(inputs)
    torch.testing.assert_close(merged, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("ranks", [(3, 2, 3), (9, 8, 9)], ids=str)
def test_nothing_nearby_interferes_less(ranks: tuple[int, ...]) -> None:
    inputs = random_stack(20, 15, ranks)
    deltas, merged = deltas_of(inputs), WUDI.merge(inputs)
    least = loss(merged, deltas)
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = merged + 1e-3 * torch.randn(20, 15, generator=g, dtype=torch.float64)
        assert loss(other, deltas) > least


def test_adapters_that_read_different_inputs_are_summed() -> None:
    eye = torch.eye(6).double()
    inputs = Stack.of([Factors(eye[:2], eye[:, :2]), Factors(eye[2:4], 3 * eye[:, 1:3])])
    torch.testing.assert_close(WUDI.merge(inputs), deltas_of(inputs).sum(0))


@pytest.mark.parametrize("solve", ["exact", "flow", "adam"])
def test_one_adapter_merges_to_itself(solve: str) -> None:
    inputs = random_stack(10, 8, (3,))
    merged = MethodCase.of("wudi", {"solve": solve}).merge(inputs)
    # Adam trembles about the minimum by the size of a step.
    torch.testing.assert_close(merged, deltas_of(inputs)[0], atol=1e-5, rtol=0)


def test_the_flow_solves_its_differential_equation() -> None:
    inputs = random_stack(12, 9, (2, 3), weights=(1, 0.5))
    C, G = moments(deltas_of(inputs))
    delta, step = deltas_of(inputs).sum(0), 1e-3
    for _ in range(2000):  # midpoint rule up to time 2
        middle = delta + step / 2 * (G - delta @ C)
        delta = delta + step * (G - middle @ C)
    merged = MethodCase.of("wudi", {"solve": "flow", "time": 2.0}).merge(inputs)
    torch.testing.assert_close(merged, delta, atol=1e-5, rtol=1e-5)


def test_the_flow_goes_from_the_sum_to_the_minimum() -> None:
    inputs = random_stack(12, 9, (2, 3))
    begun = MethodCase.of("wudi", {"solve": "flow", "time": 0.0}).merge(inputs)
    done = MethodCase.of("wudi", {"solve": "flow", "time": 1e6}).merge(inputs)
    torch.testing.assert_close(begun, deltas_of(inputs).sum(0))
    torch.testing.assert_close(done, WUDI.merge(inputs))


def test_adam_is_the_published_iteration() -> None:
    inputs = random_stack(12, 9, (2, 3), weights=(1, 0.5))
    deltas = deltas_of(inputs)
    delta = deltas.sum(0).requires_grad_()
    optimizer = torch.optim.Adam([delta], lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss(delta, deltas).backward()
        optimizer.step()
    merged = MethodCase.of("wudi", {"solve": "adam", "steps": 40, "lr": 1e-3}).merge(inputs)
    torch.testing.assert_close(merged, delta.detach(), atol=1e-9, rtol=1e-9)
    assert float((merged - deltas.sum(0)).abs().max()) > 1e-2


def test_nearly_equal_inputs_are_not_lost() -> None:
    first, second = random_stack(20, 15, (3, 3)).factors
    near = Stack.of([first, Factors(first.A + 1e-5 * second.A, second.B)])
    deltas = deltas_of(near)
    merged = WUDI.merge(near)
    assert float(loss(merged, deltas)) < 1e-8
    assert float(loss(deltas.sum(0), deltas)) > 1
