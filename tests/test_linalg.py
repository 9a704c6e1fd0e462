"""Core space: exact, whatever the ranks, and without losing what adapters hardly differ by."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import factors, stack
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.linalg import concat, core, fit, norm, rank_for_energy, svd

sizes = st.integers(1, 12)


@cases(sizes, sizes, st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 99))
def test_core_holds_every_update_exactly(
    d_out: int, d_in: int, ranks: list[int], seed: int
) -> None:
    inputs = stack(d_out, d_in, ranks, seed=seed, dtype=torch.float64)
    space = core(inputs)
    for f, M in zip(inputs.factors, space.M, strict=True):
        torch.testing.assert_close(space.lift(M).dense(), f.dense(), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(M.norm(), f.dense().norm(), atol=1e-10, rtol=1e-10)


@cases(sizes, sizes, st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 99))
def test_svd_of_a_sum_equals_the_dense_one(
    d_out: int, d_in: int, ranks: list[int], seed: int
) -> None:
    total = concat(stack(d_out, d_in, ranks, seed=seed, dtype=torch.float64))
    dense = torch.linalg.svdvals(total.dense())
    result = svd(total)
    k = min(len(result.S), len(dense))
    torch.testing.assert_close(result.S[:k], dense[:k], atol=1e-10, rtol=1e-10)
    rebuilt = result.U @ torch.diag(result.S) @ result.Vh
    torch.testing.assert_close(rebuilt, total.dense(), atol=1e-10, rtol=1e-10)


def test_a_cut_is_the_best_approximation_and_tells_its_energy() -> None:
    total = concat(stack(ranks=(3, 3), dtype=torch.float64))
    U, S, Vh = torch.linalg.svd(total.dense())
    kept, energy = fit(total, 2)
    expected = U[:, :2] @ torch.diag(S[:2]) @ Vh[:2]
    torch.testing.assert_close(kept.dense(), expected, atol=1e-10, rtol=1e-10)
    assert abs(energy - float(S[:2].square().sum() / S.square().sum())) < 1e-12


def test_worked_energy() -> None:
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[2.0], [0]]))
    second = Factors(torch.tensor([[0.0, 1]]), torch.tensor([[0.0], [4]]))
    kept, energy = fit(concat(Stack.of([first, second], [0.5, 0.5])), 1)
    torch.testing.assert_close(kept.dense().float(), torch.tensor([[0.0, 0], [0, 2]]))
    assert abs(energy - 0.8) < 1e-12


def test_what_fits_is_padded_and_otherwise_untouched() -> None:
    inputs = factors(6, 5, 2, seed=0)
    kept, energy = fit(inputs, 4)
    assert energy == 1.0
    assert torch.equal(kept.A[:2], inputs.A)
    assert torch.equal(kept.B[:, :2], inputs.B)
    assert not kept.A[2:].any()


def test_cut_factors_are_balanced() -> None:
    kept, _ = fit(concat(stack(ranks=(3, 3))), 3)
    torch.testing.assert_close(kept.A.norm(dim=1), kept.B.norm(dim=0))


def test_drift_from_a_shared_initialization_is_kept() -> None:
    """A's that differ by 1e-6: the difference of the updates must survive, to its own precision."""
    shared = factors(40, 30, 4, seed=0, dtype=torch.float64)
    drift = [1e-6 * factors(40, 30, 4, seed=t, dtype=torch.float64).A for t in (1, 2)]
    inputs = Stack.of([Factors(shared.A + d, shared.B) for d in drift], [1.0, -1.0])
    expected = shared.B @ (drift[0] - drift[1])
    kept, _ = fit(concat(inputs), 8)
    assert (kept.dense() - expected).norm() < 1e-8 * expected.norm()
    cut, _ = fit(concat(inputs), 4)
    assert (cut.dense() - expected).norm() < 1e-8 * expected.norm()


def test_rank_for_energy_is_the_smallest_that_keeps_it() -> None:
    U = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(7, 4, dtype=torch.float64)).Q
    S = torch.tensor([4.0, 2, 1, 0.5], dtype=torch.float64)
    update = Factors(V.T, U * S)
    energies = S.square().cumsum(0) / S.square().sum()
    for rank, energy in enumerate(energies.tolist(), 1):
        assert rank_for_energy(update, energy, 4) == rank
        assert rank_for_energy(update, min(energy + 1e-6, 1.0), 4) == min(rank + 1, 4)
    assert rank_for_energy(update, 1.0, 4) == 4


def test_a_zero_update_has_rank_one_and_all_its_energy() -> None:
    zero = Factors(torch.zeros(2, 5), torch.zeros(6, 2))
    assert rank_for_energy(zero, 0.9, 2) == 1
    kept, energy = fit(zero, 1)
    assert energy == 1.0
    assert not kept.dense().any()


def test_a_large_dense_update_is_cut_as_by_the_exact_decomposition() -> None:
    g = torch.Generator().manual_seed(0)
    delta = torch.randn(700, 600, generator=g)
    U, S, Vh = torch.linalg.svd(delta.double(), full_matrices=False)
    kept, energy = fit(Dense(delta), 16)
    exact = float(S[:16].square().sum() / S.square().sum())
    # Noise is the hardest spectrum there is: no gap to hold on to.
    assert 0.9995 * exact < energy <= exact * (1 + 1e-6)
    kept, energy = fit(Dense(delta.T), 16)
    assert kept.shape == (600, 700)
    assert 0.9995 * exact < energy <= exact * (1 + 1e-6)
    low = U[:, :20] @ torch.diag(S[:20]) @ Vh[:20]
    kept, energy = fit(Dense((low + 1e-4 * delta).float()), 20)
    assert (kept.dense() - low).norm() < 2e-3 * low.norm()


def test_a_small_dense_update_is_cut_exactly() -> None:
    total = concat(stack(ranks=(3, 3), dtype=torch.float64))
    by_factors, energy = fit(total, 2)
    by_dense, energy_too = fit(Dense(total.dense()), 2)
    torch.testing.assert_close(by_factors.dense(), by_dense.dense(), atol=1e-10, rtol=1e-10)
    assert abs(energy - energy_too) < 1e-12


@pytest.mark.parametrize("apart", [1.0, 1e-2, 1e-5])
def test_columns_that_are_nearly_dependent_are_decomposed_as_others_are(apart: float) -> None:
    g = torch.Generator().manual_seed(3)
    A, B = torch.randn(8, 60, generator=g).double(), torch.randn(50, 8, generator=g).double()
    A[4:] = A[:4] + apart * A[4:]
    B[:, 4:] = -B[:, :4] + apart * B[:, 4:]
    S = torch.linalg.svdvals(B @ A)
    result = svd(Factors(A, B))
    torch.testing.assert_close(result.S, S[:8], rtol=1e-8, atol=1e-12 * float(S[0]))
    torch.testing.assert_close(result.U * result.S @ result.Vh, B @ A, rtol=1e-9, atol=1e-9)
    for directions in (result.U.T, result.Vh):
        eye = torch.eye(8).double()
        torch.testing.assert_close(directions @ directions.T, eye, rtol=0, atol=1e-9)
    assert norm(Factors(A, B)) == pytest.approx(float((B @ A).norm()), rel=1e-10)
