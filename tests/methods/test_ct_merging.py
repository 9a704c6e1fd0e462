"""CT-Merging against worked examples, its dense definition, and adapters equal but for rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as cases, strategies as st

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

CT = MethodCase.of("ct-merging")
Delta = torch.Tensor


def whole(*rows: list[list[float]]) -> Stack:
    deltas = [torch.tensor(r).double() for r in rows]
    return Stack.of([Factors(d, torch.eye(len(d)).double()) for d in deltas])


FIRST = [[2.0, 0, 0], [0, 1, 0], [0, 0, 0]]
SECOND = [[1.0, 1, 0], [0, 0, 0], [0, 0, 2]]


@pytest.mark.parametrize(
    ("common", "expected"),
    [
        (1, [[1.5607, 0.2533, 0], [-0.2533, 1.5607, 0], [0, 0, 1.7321]]),
        (0, [[1.5667, 0.4486, 0], [-0.2316, 1.3496, 0], [0, 0, 1.7321]]),
    ],
)
def test_worked_numbers(common: int, expected: list[list[float]]) -> None:
    merged = CT.merge(whole(FIRST, SECOND), common=common)
    torch.testing.assert_close(merged, torch.tensor(expected).double(), atol=1e-4, rtol=0)


def polar(X: Delta) -> Delta:
    P, E, Qt = torch.linalg.svd(X, full_matrices=False)
    return P @ torch.diag((E > 1e-9).double()) @ Qt  # k columns more than directions


def dense(stack: Stack, common: int, gain: float) -> Delta:
    """Follow the definition on full matrices where nothing is rounding and no eigenvalues tie."""
    parts, projector, mean = [], torch.zeros(stack.shape[0], stack.shape[0]).double(), 0
    for f, w in zip(stack.factors, stack.weights, strict=True):
        U, S, Vh = torch.linalg.svd(w * f.dense(), full_matrices=False)
        parts.append((U[:, : f.rank], S[: f.rank], Vh[: f.rank].T))
        projector += parts[-1][0] @ parts[-1][0].T / len(stack)
        mean = mean + w * f.dense() / len(stack)
    U_c = torch.linalg.eigh(projector).eigenvectors[:, len(projector) - common :]
    P, s, Qt = torch.linalg.svd(U_c.T @ mean, full_matrices=False)
    L, V, c = [U_c @ P], [Qt.T], [s.square().mean().sqrt().expand(common)]
    for U, S, V_t in parts:
        L.append(U - U_c @ U_c.T @ U)
        V.append(V_t)
        c.append(S.square().mean().sqrt().expand(len(S)))
    return gain * polar(torch.cat(L, 1)) @ torch.diag(torch.cat(c)) @ polar(torch.cat(V, 1)).T


@pytest.mark.parametrize("common", [1, 2, 4])
def test_the_core_equals_the_dense_definition(common: int) -> None:
    inputs = random_stack(30, 25, (4, 2, 3), weights=(1, 0.5, -2))
    merged = CT.merge(inputs, common=common, gain=0.7)
    torch.testing.assert_close(merged, dense(inputs, common, 0.7), atol=1e-10, rtol=1e-10)


def noisy(f: Factors, by: float, seed: int) -> Factors:
    g = torch.Generator().manual_seed(seed)
    A, B = (x * (1 + by * torch.randn(x.shape, generator=g).double()) for x in (f.A, f.B))
    return Factors(A, B)


@cases(
    seed=st.integers(0, 99),
    rank=st.integers(1, 6),
    common=st.integers(0, 8),
    size=st.sampled_from([1e-9, 1e-6, 1e-4]),
)
def test_rounding_of_an_adapter_given_twice_does_not_matter(
    seed: int, rank: int, common: int, size: float
) -> None:
    first, other = random_stack(60, 50, (rank, 3), seed=seed).factors
    twice = Stack.of([first, noisy(first, size, seed), other])
    moved = Stack.of([noisy(first, size, seed + 1), noisy(first, size, seed + 2), other])
    one, two = (CT.merge(stack, common=common) for stack in (twice, moved))
    assert float((one - two).norm() / one.norm()) < 1e3 * size


def test_files_in_bfloat16_beside_the_same_ones_in_float32() -> None:
    f = random_stack(300, 200, (8,)).factors[0]
    short = Factors(f.A.bfloat16().double(), f.B.bfloat16().double())
    exact = CT.merge(Stack.of([f, f]))
    mixed = CT.merge(Stack.of([f, short]))
    assert float((mixed - exact).norm() / exact.norm()) < 0.02
    # With a tolerance for better files, their rounding becomes as long as what was trained.
    lifted = CT.merge(Stack.of([f, short]), tolerance=1e-6)
    assert float((lifted - exact).norm() / exact.norm()) > 0.5


def test_equal_eigenvalues_are_never_split() -> None:
    eye = torch.eye(8).double()
    apart = [Factors(eye[:2], eye[:, :2] * 2), Factors(eye[2:4], 3 * eye[:, 2:4])]
    for common in (0, 1, 3):  # all four outputs are equally shared
        merged = CT.merge(Stack.of(apart), common=common)
        torch.testing.assert_close(merged, apart[0].dense() + apart[1].dense())


def test_one_adapter_keeps_its_norm_and_its_directions() -> None:
    f = random_stack(12, 10, (3,)).factors[0]
    U, S, Vh = torch.linalg.svd(f.dense(), full_matrices=False)
    for common in (0, 2, 4):
        merged = CT.merge(Stack.of([f]), common=common)
        torch.testing.assert_close(merged, U[:, :3] @ Vh[:3] * S.square().sum().sqrt() / 3**0.5)


def test_an_absent_adapter_changes_nothing() -> None:
    stack = random_stack(20, 15, (3, 2))
    none = Factors(torch.zeros(0, 15).double(), torch.zeros(20, 0).double())
    merged = CT.merge(Stack.of([*stack.factors, none]))
    torch.testing.assert_close(merged, CT.merge(stack))
