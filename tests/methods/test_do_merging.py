"""DO-Merging against its dense definition, and its objective."""

from __future__ import annotations

import torch

from robustmerge.factors import Factors, Stack
from robustmerge.methods.spectral.do_merging import orthogonalize
from robustmerge.testing import MethodCase, random_stack

DO = MethodCase.of("do-merging")


def averaged(deltas: list[torch.Tensor]) -> torch.Tensor:
    expected = torch.zeros_like(deltas[0])
    for column in range(expected.shape[1]):
        parts = [d[:, column] for d in deltas]
        direction = sum((p / p.norm() for p in parts if p.norm() > 0), torch.zeros_like(parts[0]))
        magnitude = sum(float(p.norm()) for p in parts)
        expected[:, column] = direction / len(deltas) * magnitude / len(deltas)
    return expected


def test_worked_numbers() -> None:
    """Columns (3, 4) and (0, 10): directions (.6, .8) and (0, 1), norms 5 and 10."""
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[3.0], [4]]))
    second = Factors(torch.tensor([[1.0, 1]]), torch.tensor([[0.0], [10]]))
    merged = DO.merge(Stack.of([first, second]), steps=0)
    expected = torch.tensor([[0.3 * 7.5, 0], [0.9 * 7.5, 0.5 * 5]]).double()
    torch.testing.assert_close(merged, expected)


def test_without_steps_it_equals_the_dense_definition() -> None:
    inputs = random_stack(20, 25, (4, 2, 3), weights=(1, 0.5, -2))
    deltas = [w * f.dense() for f, w in zip(inputs.factors, inputs.weights, strict=True)]
    for flavor in ("delta", "paper"):
        merged = DO.merge(inputs, steps=0, flavor=flavor)
        torch.testing.assert_close(merged, averaged(deltas))


def test_the_delta_flavor_equals_the_dense_definition() -> None:
    inputs = random_stack(20, 25, (4, 2, 3), weights=(1, 0.5, -2))
    deltas = [w * f.dense() for f, w in zip(inputs.factors, inputs.weights, strict=True)]
    axes = torch.linalg.svd(torch.cat(deltas)).Vh[:9]
    parts = []
    for f, d in zip(inputs.factors, deltas, strict=True):
        U, S, Vh = torch.linalg.svd(d, full_matrices=False)
        parts.append((U[:, : f.rank] * S[: f.rank], Vh[: f.rank]))
    A = orthogonalize(torch.cat([a for _, a in parts]) @ axes.T, inputs.ranks, 100, 0.01) @ axes
    rows = torch.split(A, list(inputs.ranks))
    moved = [b @ a for (b, _), a in zip(parts, rows, strict=True)]
    torch.testing.assert_close(DO.merge(inputs), averaged(moved), atol=1e-9, rtol=1e-9)


def test_the_steps_come_near_the_least_objective() -> None:
    A0 = torch.linalg.svd(random_stack(30, 30, (6, 6)).factors[0].dense()).Vh[:6]
    A0 = torch.cat([A0, torch.linalg.svd(random_stack(30, 30, (6, 6)).factors[1].A).Vh[:6]])

    def objective(A: torch.Tensor) -> torch.Tensor:
        return 2 * (A[:6] @ A[6:].T).square().sum() + (A - A0).square().sum()

    result = orthogonalize(A0, (6, 6), 100, 0.01)
    best = A0.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([best], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective(best)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    start, least, reached = (float(objective(A.detach())) for A in (A0, best, result))
    assert least <= reached < least + 0.05 * (start - least)


def test_a_step_is_that_of_adam() -> None:
    A0 = random_stack(8, 8, (2, 2)).A.flatten(0, 1) / 5
    A = A0.clone().requires_grad_()
    optimizer = torch.optim.Adam([A], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (2 * (A[:2] @ A[2:].T).square().sum() + (A - A0).square().sum()).backward()
        optimizer.step()
    torch.testing.assert_close(orthogonalize(A0, (2, 2), 20, 0.01), A.detach())


def test_one_adapter_comes_through() -> None:
    first = random_stack(12, 10, (3,))
    torch.testing.assert_close(DO.merge(first), first.factors[0].dense())


def test_a_column_that_is_zero_has_no_say_in_the_direction() -> None:
    first = Factors(torch.tensor([[1.0, 1e-12]]), torch.tensor([[3.0], [4]]))
    second = Factors(torch.tensor([[1.0, 1]]), torch.tensor([[0.0], [10]]))
    merged = DO.merge(Stack.of([first, second]), steps=0)
    torch.testing.assert_close(merged[:, 1], torch.tensor([0.0, 2.5]).double())
