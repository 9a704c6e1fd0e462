"""SCORE against its worked example, its dense definition and the released rule."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.methods.spectral.score import Flavor, sum_in_axes
from robustmerge.testing import MethodCase, random_stack

SCORE = MethodCase.of("score")


def polar(X: torch.Tensor) -> torch.Tensor:
    P, _, Qt = torch.linalg.svd(X, full_matrices=False)
    return P @ Qt


def axes(deltas: list[torch.Tensor], ranks: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [torch.linalg.svd(d, full_matrices=False) for d in deltas]
    pairs = list(zip(parts, ranks, strict=True))
    left = torch.cat([U[:, :r] for (U, _, _), r in pairs], 1)
    return polar(left), polar(torch.cat([Vh[:r].T for (_, _, Vh), r in pairs], 1))


@pytest.mark.parametrize("flavor", ["moment", "paper"])
def test_worked_numbers_of_one_axis_for_each_adapter(flavor: Flavor) -> None:
    deltas = [
        torch.tensor(d).double() for d in ([[2.0, 0, 0], [0, 1, 0]], [[1.0, 1, 0], [0, 0, 2]])
    ]
    U, V = axes(deltas, (1, 1))
    merged = sum_in_axes(torch.stack(deltas), U, V, width=1.96, flavor=flavor)
    expected = torch.tensor([[3.0, 0, 0], [0, 0, 2]]).double()
    torch.testing.assert_close(merged, expected)


def kept(M: torch.Tensor, i: int, j: int, width: float, flavor: Flavor) -> bool:
    """Say for one entry off the diagonal whether it is small enough."""
    off = [float(M[a, b]) for a in range(len(M)) for b in range(len(M)) if a != b]
    mean = 0.0
    if flavor == "moment":
        deviation = (sum(x * x for x in off) / len(off)) ** 0.5
    else:
        every = torch.tensor([*off, *[0.0] * len(M)], dtype=torch.float64)
        mean, deviation = float(every.mean()), float(every.std())
    return abs(float(M[i, j]) - mean) <= width * deviation / 3  # of three adapters


@pytest.mark.parametrize("width", [0.5, 1.96, 5.88])
def test_the_core_equals_the_dense_definition(width: float) -> None:
    inputs = random_stack(20, 25, (3, 2, 3), weights=(1, 0.5, -2))
    deltas = [w * f.dense() for f, w in zip(inputs.factors, inputs.weights, strict=True)]
    U, V = axes(deltas, inputs.ranks)
    total = torch.zeros(8, 8).double()
    for delta in deltas:
        M = U.T @ delta @ V
        for i in range(8):
            for j in range(8):
                if i == j or kept(M, i, j, width, "moment"):
                    total[i, j] += M[i, j]
    merged = SCORE.merge(inputs, width=width)
    torch.testing.assert_close(merged, U @ total @ V.T, atol=1e-10, rtol=1e-10)


def test_the_released_rule_on_one_matrix() -> None:
    M = random_stack(6, 6, (6,)).factors[0].dense()
    eye = torch.eye(6).double()
    three = torch.stack([M, 0 * M, 0 * M])
    merged = sum_in_axes(three, eye, eye, width=1.96, flavor="paper")
    for i in range(6):
        for j in range(6):
            whole = i == j or kept(M, i, j, 1.96, "paper")
            assert float(merged[i, j]) == (float(M[i, j]) if whole else 0.0)


def test_signs_of_singular_vectors_decide_the_released_rule_alone() -> None:
    stack = random_stack(20, 25, (3, 2, 3))
    M = torch.stack([f.dense() for f in stack.factors])
    U, V = axes([*M], stack.ranks)
    turned = torch.tensor([1.0, -1, 1, 1, -1, 1, -1, 1]).double()
    apart = {}
    for flavor in ("moment", "paper"):
        one, two = (
            sum_in_axes(M, U * s, V * s, width=1.96, flavor=flavor)  # type: ignore[arg-type]
            for s in (torch.ones(8).double(), turned)
        )
        apart[flavor] = float((one - two).norm() / one.norm())
    assert apart["moment"] < 1e-12
    assert apart["paper"] > 1e-3


def test_one_adapter_and_orthogonal_adapters_are_summed() -> None:
    f = random_stack(12, 10, (3,)).factors[0]
    torch.testing.assert_close(SCORE.merge(Stack.of([f])), f.dense())
    eye = torch.eye(6).double()
    updates = [Factors(eye[:2], eye[:, :2] * 2), Factors(eye[2:4], 3 * eye[:, 3:5])]
    expected = updates[0].dense() + updates[1].dense()
    torch.testing.assert_close(SCORE.merge(Stack.of(updates)), expected)


def test_an_absent_adapter_changes_nothing() -> None:
    stack = random_stack(20, 15, (3, 2))
    none = Factors(torch.zeros(0, 15).double(), torch.zeros(20, 0).double())
    torch.testing.assert_close(SCORE.merge(Stack.of([*stack.factors, none])), SCORE.merge(stack))
