"""ASWUDI against its dense definition, and how many directions it chooses."""

from __future__ import annotations

import pytest
import torch

from factories.dense_interference import deltas_of, filtered, moments
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack


def chosen(s: torch.Tensor, by: str) -> int:
    """Written as in the page; s are the values that are not zero."""
    if by == "participation":
        return int(torch.ceil(s.sum() ** 2 / (s**2).sum()))
    if by == "entropy":
        p = s**2 / (s**2).sum()
        return int(torch.ceil((-(p * p.log()).sum()).exp()))
    return max(int((s > 2.858 * s.median()).sum()), 1)


@pytest.mark.parametrize("filter", ["participation", "gavish-donoho", "entropy"])
def test_the_core_equals_the_dense_definition(filter: str) -> None:
    # One adapter's directions are of very different strength, so that a few stand out.
    *others, last = random_stack(40, 60, (3, 2, 3, 3)).factors
    strong = Factors(last.A, last.B * torch.tensor([30.0, 1, 0.1]))
    inputs = Stack.of([*others, strong], [1.0, 0.5, 2.0, 1.0])
    deltas = deltas_of(inputs)
    lam, V = torch.linalg.eigh(moments(deltas)[0])
    lam, V = lam.flip(0)[:11], V.flip(1)[:, :11]
    K = chosen(lam.sqrt(), filter)
    assert K < 11
    f = torch.zeros(11).double()
    f[:K] = 1
    expected = filtered(deltas, f, V, deltas.sum(0))
    merged = MethodCase.of("aswudi", {"filter": filter}).merge(inputs)
    torch.testing.assert_close(merged, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("values", "K"), [([4, 2.8], 1), ([4, 2.9], 2), ([2, 1], 1)], ids=str)
def test_directions_that_stand_out_of_noise_are_resolved(values: list[float], K: int) -> None:
    s = torch.tensor(values + [1.0] * 7).double()
    first = Stack.of([Factors(torch.eye(9).double(), torch.diag(s))])
    merged = MethodCase.of("aswudi", {"filter": "gavish-donoho", "start": "zero"}).merge(first)
    s[K:] = 0
    torch.testing.assert_close(merged, torch.diag(s))


@pytest.mark.parametrize("filter", ["participation", "entropy"])
def test_equal_directions_all_count(filter: str) -> None:
    for n in range(1, 9):
        eye = torch.eye(n, 10).double()
        first = Stack.of([Factors(eye, 0.3 * eye.T)])
        merged = MethodCase.of("aswudi", {"filter": filter, "start": "zero"}).merge(first)
        torch.testing.assert_close(merged, 0.3 * eye.T @ eye)
