"""ESM against its definition on the outputs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack
from robustmerge.testing.cases import change_gauge

ESM = MethodCase.of("esm")


def tokens(d_in: int, counts: Sequence[int]) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    mix = torch.randn(d_in, d_in, generator=g, dtype=torch.float64)
    return [
        torch.randn(n, d_in, generator=g, dtype=torch.float64) @ mix + t
        for t, n in enumerate(counts)
    ]


def with_data(stack: Stack, inputs: Sequence[torch.Tensor]) -> Stack:
    rows = torch.cat([f.A for f in stack.factors]).double()
    return replace(stack, data=tuple({"gram": rows @ X.T @ X @ rows.T} for X in inputs))


def even(X: torch.Tensor) -> torch.Tensor:
    P, S, Qt = torch.linalg.svd(X, full_matrices=False)
    return P @ Qt * S.mean()


def dense(stack: Stack, inputs: Sequence[torch.Tensor], exponents: Sequence[float]) -> torch.Tensor:
    tasks, directions, columns = exponents
    lefts, rights = [], []
    for f, w, X in zip(stack.factors, stack.weights, inputs, strict=True):
        Y = X @ (w * f.dense()).T  # shifts of the outputs, one row per token
        energies, P = torch.linalg.eigh(Y.T @ Y / len(Y))
        energies, P = energies[-f.rank :], P[:, -f.rank :]
        v = (energies / energies.mean()) ** directions
        lefts.append(P @ torch.diag(v / v.mean()))
        rights.append((P.T @ (w * f.dense()), v / v.mean()))
    mean = sum(float(A.norm()) for A, _ in rights) / len(rights)
    A = torch.cat([torch.diag(v) @ A * (A.norm() / mean) ** tasks for A, v in rights])
    sizes = torch.stack([A[:, j].norm() for j in range(A.shape[1])])
    return even(torch.cat(lefts, 1)) @ even(A @ torch.diag((sizes / sizes.mean()) ** columns))


@pytest.mark.parametrize("exponents", [(2.0, 0.15, 1.0), (0.0, 0.15, 0.0), (-1.0, 0.5, 2.0)])
def test_the_factors_equal_the_dense_definition(exponents: tuple[float, float, float]) -> None:
    stack = random_stack(20, 15, (3, 2, 4), weights=(1, 0.5, -2))
    inputs = tokens(15, (40, 30, 50))
    names = dict(zip(("tasks", "directions", "inputs"), exponents, strict=True))
    merged = ESM.merge(with_data(stack, inputs), **names)
    expected = dense(stack, inputs, exponents)
    torch.testing.assert_close(merged, expected, atol=1e-8, rtol=1e-8)


def test_the_inputs_are_the_layers_and_not_those_of_a_basis() -> None:
    """Check that a turn of the inputs is no more than a turn where they are not polarized."""
    stack, inputs = random_stack(20, 15, (3, 2)), tokens(15, (40, 30))
    turn = torch.linalg.qr(
        torch.randn(15, 15, generator=torch.Generator().manual_seed(0))
    ).Q.double()
    other = replace(stack, factors=tuple(Factors(f.A @ turn, f.B) for f in stack.factors))
    turned = [X @ turn for X in inputs]
    apart = {}
    for exponent in (0.0, 1.0):
        one, two = (
            ESM.merge(with_data(s, X), inputs=exponent)
            for s, X in ((stack, inputs), (other, turned))
        )
        apart[exponent] = float((one @ turn - two).norm() / two.norm())
    assert apart[0.0] < 1e-6  # the turn was drawn in float32
    assert apart[1.0] > 1e-2


def test_of_many_directions_those_with_most_energy_are_taken() -> None:
    """Two adapters on four outputs have two directions each."""
    stack, inputs = random_stack(4, 15, (3, 3)), tokens(15, (40, 30))
    merged = ESM.merge(with_data(stack, inputs))
    cut = []
    for f, X in zip(stack.factors, inputs, strict=True):
        P = torch.linalg.svd((X @ f.dense().T).T, full_matrices=False)[0][:, :2]
        cut.append(Factors(P.T @ f.dense(), P))
    expected = dense(Stack.of(cut), inputs, (2.0, 0.15, 1.0))
    torch.testing.assert_close(merged, expected, atol=1e-7, rtol=1e-7)


def test_directions_without_samples_are_left_out() -> None:
    stack, inputs = random_stack(20, 15, (3, 2)), tokens(15, (1, 1))
    data = with_data(stack, inputs)
    merged = ESM.merge(data)
    assert int(torch.linalg.matrix_rank(merged, rtol=1e-9)) == 2
    other = replace(stack, factors=tuple(change_gauge(f, t) for t, f in enumerate(stack.factors)))
    torch.testing.assert_close(ESM.merge(with_data(other, inputs)), merged, atol=1e-6, rtol=1e-6)


def test_absent_adapters_change_nothing_and_missing_data_are_named() -> None:
    stack, inputs = random_stack(20, 15, (3, 2)), tokens(15, (40, 30, 20))
    none = Factors(torch.zeros(0, 15).double(), torch.zeros(20, 0).double())
    more = with_data(Stack.of([*stack.factors, none]), inputs)
    torch.testing.assert_close(ESM.merge(more), ESM.merge(with_data(stack, inputs[:2])))
    with pytest.raises(MergeError, match="gram"):
        ESM.method(stack, **ESM.settings)
