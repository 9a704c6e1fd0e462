"""Compress-then-Merge against its worked examples and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.linalg import core
from robustmerge.methods.spectral.ctm import alternate, balance_norms, energy_kept, hosvd
from robustmerge.testing import MethodCase, random_stack

CTM = MethodCase.of("ctm")
SUM = MethodCase.of("ctm", {"inner": "sum", "gain": 1.0})


@pytest.mark.parametrize(
    ("beta", "expected"),
    [(1.0, [[2.6587, 0], [0.3375, 0]]), (0.0, [[2.4, 0], [1.2, 0]])],
)
def test_worked_numbers(beta: float, expected: list[list[float]]) -> None:
    a = torch.tensor([[1.0, 0]])
    first, second = Factors(a, torch.tensor([[2.0], [0]])), Factors(a, torch.tensor([[0.6], [0.8]]))
    merged = SUM.merge(Stack.of([first, second]), beta=beta)
    torch.testing.assert_close(merged, torch.tensor(expected).double(), atol=2e-4, rtol=0)


def top(X: torch.Tensor, r: int) -> torch.Tensor:
    return torch.linalg.eigh(X).eigenvectors[:, -r:].flip(1)


def test_the_core_equals_the_dense_definition() -> None:
    inputs = random_stack(20, 25, (4, 2, 3), weights=(1, 0.5, -2))
    deltas = [w * f.dense() for f, w in zip(inputs.factors, inputs.weights, strict=True)]
    norms = [d.norm() for d in deltas]
    mean = sum(norms) / 3
    X = [d / n * (0.25 * n + 0.75 * mean) for d, n in zip(deltas, norms, strict=True)]
    U, V = top(sum(x @ x.T for x in X), 4), top(sum(x.T @ x for x in X), 4)
    energy = sum((U.T @ x @ V).square().sum() for x in X)
    while True:
        V = top(sum(x.T @ U @ U.T @ x for x in X), 4)
        U = top(sum(x @ V @ V.T @ x.T for x in X), 4)
        before, energy = energy, sum((U.T @ x @ V).square().sum() for x in X)
        if energy <= before * (1 + 1e-6):
            break
    C = [U.T @ x @ V for x in X]
    U, V = U @ top(sum(c @ c.T for c in C), 4), V @ top(sum(c.T @ c for c in C), 4)
    C = [U.T @ d @ V for d in deltas]
    trimmed = [torch.where(c.abs() >= c.abs().flatten().sort().values[-4], c, 0) for c in C]
    voted = torch.zeros(4, 4).double()
    for i in range(4):
        for j in range(4):
            entries = [float(c[i, j]) for c in trimmed]
            agree = [x for x in entries if x * sum(entries) > 0]
            voted[i, j] = sum(agree) / max(len(agree), 1)
    torch.testing.assert_close(CTM.merge(inputs), 0.75 * U @ voted @ V.T, atol=1e-9, rtol=1e-9)
    plain = U @ sum(C) @ V.T
    torch.testing.assert_close(SUM.merge(inputs), plain, atol=1e-9, rtol=1e-9)
    P, S, Qt = torch.linalg.svd(plain, full_matrices=False)
    flat = P[:, :4] @ Qt[:4] * S[:4].mean()
    torch.testing.assert_close(SUM.merge(inputs, inner="iso"), flat, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_alternation_keeps_no_less_than_its_start(seed: int) -> None:
    X = balance_norms(core(random_stack(30, 25, (4, 4, 4, 4), seed=seed)).M, 0.25)
    assert energy_kept(X, alternate(X, 4)) > energy_kept(X, hosvd(X, 4)) * 1.01


def test_the_rank_is_that_of_the_largest_adapter_or_the_one_asked_for() -> None:
    inputs = random_stack(20, 25, (4, 2, 3))
    for wanted, rank in ((0, 4), (2, 2), (6, 6), (99, 9)):
        assert int(torch.linalg.matrix_rank(SUM.merge(inputs, rank=wanted))) == rank


def test_one_adapter_comes_through() -> None:
    first = random_stack(20, 25, (4,))
    torch.testing.assert_close(SUM.merge(first), first.factors[0].dense())
    torch.testing.assert_close(CTM.merge(first), 0.75 * first.factors[0].dense())


def test_an_absent_adapter_changes_nothing() -> None:
    inputs = random_stack(20, 25, (4, 2))
    more = Stack.of([*inputs.factors, Factors(torch.zeros(0, 25), torch.zeros(20, 0))])
    torch.testing.assert_close(CTM.merge(more), CTM.merge(inputs))


def test_what_dare_drops_depends_on_the_module_and_keeps_the_expected_core() -> None:
    inputs = random_stack(20, 25, (4, 4))
    other = Stack.of(inputs.factors, module="another")
    dare = MethodCase.of("ctm", {"inner": "dare-ties", "gain": 1.0})
    assert not torch.equal(dare.merge(inputs), dare.merge(other))
    full, half = (dare.merge(random_stack(20, 25, (4,)), density=d) for d in (1.0, 0.5))
    torch.testing.assert_close(full, random_stack(20, 25, (4,)).factors[0].dense())
    S = torch.linalg.svdvals(full)[:4]
    result = torch.linalg.svdvals(half)[:4]
    left = [float(x) for x in result if x > 1e-9]
    assert 0 < len(left) < 4
    assert all(float((2 * S - x).abs().min()) < 1e-9 for x in left)
