"""One module's update against dense least squares, at full rank and below it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from robustmerge.prompted.solve import Regression


def problem(tokens: int, d_in: int, d_out: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(tokens, d_in, generator=generator)
    R = torch.randn(tokens, d_out, generator=generator)
    return X, R, torch.rand(tokens, generator=generator)


def solved(
    X: torch.Tensor, R: torch.Tensor, c: torch.Tensor, ridge: float, rank: int, *, dual: bool
) -> torch.Tensor:
    tokens = X.shape[1] - 1 if dual else X.shape[1]  # as announced, decides about the form
    sums = Regression(R.shape[1], X.shape[1], tokens, torch.device("cpu"))
    assert sums.dual == dual
    half = len(X) // 2
    sums.add(X[:half], R[:half], c[:half])
    sums.add(X[half:], R[half:], c[half:])
    solution = sums.solve(ridge, rank)
    assert solution.factors.rank == rank
    assert 0 <= solution.kept <= 1 + 1e-9
    return solution.factors.dense()


def loss(
    delta: torch.Tensor, X: torch.Tensor, R: torch.Tensor, c: torch.Tensor, ridge: float
) -> torch.Tensor:
    delta, X, R, c = delta.double(), X.double(), R.double(), c.double()
    lam = ridge * (c[:, None] * X.square()).sum() / X.shape[1]
    return (c * (R - X @ delta.T).square().sum(1)).sum() + lam * delta.square().sum()


@pytest.mark.parametrize("dual", [False, True])
def test_full_rank_is_ridge_regression(dual: bool) -> None:
    X, R, c = (x.double() for x in problem(20, 7, 5))
    lam = 1e-2 * (c[:, None] * X.square()).sum() / 7
    root = c.sqrt()[:, None]
    # The ridge as further rows of a least squares problem.
    rows = torch.cat([X * root, lam.sqrt() * torch.eye(7).double()])
    targets = torch.cat([R * root, torch.zeros(7, 5).double()])
    wanted = torch.linalg.lstsq(rows, targets).solution.T
    delta = solved(X.float(), R.float(), c.float(), 1e-2, 5, dual=dual)
    torch.testing.assert_close(delta, wanted, rtol=1e-4, atol=1e-5)


@given(
    tokens=st.integers(2, 30),
    d_in=st.integers(2, 9),
    d_out=st.integers(1, 12),
    rank=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_both_forms_agree(tokens: int, d_in: int, d_out: int, rank: int, seed: int) -> None:
    X, R, c = problem(tokens, d_in, d_out, seed)
    primal = solved(X, R, c, 1e-2, rank, dual=False)
    dual = solved(X, R, c, 1e-2, rank, dual=True)
    lost = loss(primal, X, R, c, 1e-2), loss(dual, X, R, c, 1e-2)
    torch.testing.assert_close(*lost, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_lower_rank_is_the_best_of_that_rank(rank: int) -> None:
    """No gradient descent from any start finds less, and a cut of the full solution is worse."""
    X, R, c = (x.double() for x in problem(40, 6, 5, seed=3))
    X = X * torch.tensor([9, 3, 1, 1, 0.3, 0.1]).double()
    ours = solved(X.float(), R.float(), c.float(), 1e-2, rank, dual=False)
    least = loss(ours, X, R, c, 1e-2)
    full = solved(X.float(), R.float(), c.float(), 1e-2, 5, dual=False)
    U, S, Vh = torch.linalg.svd(full)
    assert loss((U[:, :rank] * S[:rank]) @ Vh[:rank], X, R, c, 1e-2) > least * (1 + 1e-6)
    for seed in range(3):
        assert descended(X, R, c, rank, seed) >= least * (1 - 1e-6)


def descended(
    X: torch.Tensor, R: torch.Tensor, c: torch.Tensor, rank: int, seed: int
) -> torch.Tensor:
    """The least loss that a descent from random factors reaches."""
    generator = torch.Generator().manual_seed(seed)
    B = torch.randn(5, rank, generator=generator).double().requires_grad_()
    A = (0.1 * torch.randn(rank, 6, generator=generator).double()).requires_grad_()
    search = torch.optim.LBFGS([B, A], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        value = loss(B @ A, X, R, c, 1e-2)
        value.backward()
        return value

    search.step(closure)
    return loss(B @ A, X, R, c, 1e-2)


def test_nothing_is_asked_of_a_module_without_inputs() -> None:
    sums = Regression(3, 4, 9, torch.device("cpu"))
    solution = sums.solve(1e-3, 2)
    assert solution.factors.dense().abs().max() == 0
    assert solution.factors.rank == 2


def test_sums_whose_rounding_is_more_than_the_ridge_are_solved() -> None:
    """Take inputs that depend on each other: in float32 their moments have negative eigenvalues."""
    X, R, c = problem(400, 5, 4)
    mix = torch.randn(5, 60, generator=torch.Generator().manual_seed(1))
    wide = X @ mix
    delta = solved(wide, R, c, 1e-12, 4, dual=False)
    assert delta.isfinite().all()
    wanted = torch.linalg.lstsq((X * c.sqrt()[:, None]).double(), (R * c.sqrt()[:, None]).double())
    torch.testing.assert_close(
        wide.double() @ delta.T, X.double() @ wanted.solution, rtol=0, atol=0.05
    )
