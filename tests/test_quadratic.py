"""Minima and fits of low rank against dense definitions and general descent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustmerge.quadratic import Quadratic

p, q, tasks, r = 12, 10, 3, 2


@pytest.fixture
def measure() -> Quadratic:
    g = torch.Generator().manual_seed(0)
    P = torch.linalg.qr(torch.randn(tasks, p, r, generator=g).double()).Q
    rows = torch.randn(tasks, 3, q, generator=g).double()
    G = rows.mT @ rows + 0.1 * torch.eye(q).double()
    return Quadratic(0.3 * G.sum(0), P, 0.7 * G)


@pytest.fixture
def M() -> Tensor:
    return torch.randn(p, q, generator=torch.Generator().manual_seed(1)).double()


def dense(measure: Quadratic) -> Tensor:
    """H as a matrix on vectors of p·q entries."""
    H = torch.kron(torch.eye(p).double(), measure.E)
    for P, G in zip(measure.P, measure.G, strict=True):
        H += torch.kron(P @ P.T, G)
    return H


def test_the_gradient_and_the_minimum_are_those_of_the_dense_form(
    measure: Quadratic, M: Tensor
) -> None:
    H = dense(measure)
    torch.testing.assert_close(measure.gradient(M).flatten(), H @ M.flatten())
    assert measure(M) == pytest.approx(float(M.flatten() @ H @ M.flatten()))
    expected = torch.linalg.solve(H, M.flatten())
    torch.testing.assert_close(measure.minimum(M).flatten(), expected, rtol=1e-8, atol=1e-10)
    start = torch.ones_like(M)
    torch.testing.assert_close(measure.minimum(M, start).flatten(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_no_descent_gets_below_the_fit(measure: Quadratic, M: Tensor, rank: int) -> None:
    U, V = measure.fit(M, rank)
    least = measure(U @ V.T - M)
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        factors = [torch.randn(n, rank, generator=g).double().requires_grad_() for n in (p, q)]
        descent = torch.optim.LBFGS(factors, max_iter=500, line_search_fn="strong_wolfe")

        def loss(factors: list[Tensor] = factors, descent: torch.optim.LBFGS = descent) -> Tensor:
            descent.zero_grad()
            error = factors[0] @ factors[1].T - M
            value = (error * measure.gradient(error)).sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        descent.step(loss)  # type: ignore[arg-type]
        assert least <= float(loss()) * (1 + 1e-4)


def test_a_fit_is_nearer_than_the_cut_by_energy(measure: Quadratic, M: Tensor) -> None:
    U, V = measure.fit(M, 3)
    left, S, right = torch.linalg.svd(M)
    cut = left[:, :3] * S[:3] @ right[:3]
    assert measure(U @ V.T - M) < 0.95 * measure(cut - M)
    torch.testing.assert_close(V.T @ V, torch.eye(3).double())


def test_one_sided_fits_are_closed(measure: Quadratic, M: Tensor) -> None:
    E = measure.E
    one_sided = Quadratic.one_sided(E, p)
    U, V = one_sided.fit(M, 3)
    S = torch.linalg.svdvals(M @ torch.linalg.cholesky(E))
    assert one_sided(U @ V.T - M) == pytest.approx(float(S[3:].square().sum()))


def test_inputs_that_do_not_count_do_no_harm(M: Tensor) -> None:
    E = torch.diag(torch.tensor([1.0] * 4 + [0.0] * (q - 4))).double()
    U, V = Quadratic.one_sided(E, p).fit(M * E.diagonal(), 2)
    left, S, right = torch.linalg.svd(M[:, :4], full_matrices=False)
    expected = torch.nn.functional.pad(left[:, :2] * S[:2] @ right[:2], (0, q - 4))
    torch.testing.assert_close(U @ V.T, expected, rtol=1e-5, atol=1e-6)


def test_many_problems_are_solved_as_if_each_were_alone(M: Tensor) -> None:
    g = torch.Generator().manual_seed(2)
    measures, wanted = [], []
    for n in range(4):
        P = torch.linalg.qr(torch.randn(tasks, p, r, generator=g).double()).Q
        rows = 10.0**n * torch.randn(tasks, 3, q, generator=g).double()  # some take more rounds
        G = rows.mT @ rows + 0.1 * torch.eye(q).double()
        measures.append(Quadratic(0.3 * G.sum(0), P, 0.7 * G))
        wanted.append(M if n else 0 * M)
    many, stacked = Quadratic.stack(measures), torch.stack(wanted)
    minima, (U, V) = many.minimum(stacked), many.fit(stacked, 3)
    for n, alone in enumerate(measures):
        torch.testing.assert_close(minima[n], alone.minimum(wanted[n]), rtol=1e-9, atol=1e-12)
        single, inputs = alone.fit(wanted[n], 3)
        torch.testing.assert_close(U[n] @ V[n].T, single @ inputs.T, rtol=1e-5, atol=1e-7)
