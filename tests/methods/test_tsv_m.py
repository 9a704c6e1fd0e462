"""TSV-Merging against its worked example and its dense definition."""

from __future__ import annotations

import torch

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

TSV = MethodCase.of("tsv-m")


def test_worked_numbers() -> None:
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[2.0], [0]]))
    second = Factors(torch.tensor([[0.0, 1]]), torch.tensor([[0.8], [0.6]]))
    merged = TSV.merge(Stack.of([first, second]))
    expected = torch.tensor([[1.7889, 0.4472], [-0.8944, 0.8944]]).double()
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)


def test_the_core_equals_the_dense_definition() -> None:
    inputs = random_stack(40, 60, (3, 2, 3, 1), weights=(1, 0.5, 2, 1))
    parts = []
    for f, w in zip(inputs.factors, inputs.weights, strict=True):
        U, S, Vh = torch.linalg.svd(w * f.dense(), full_matrices=False)
        parts.append((U[:, : f.rank], S[: f.rank], Vh[: f.rank].T))
    U, S, V = (torch.cat(p, dim=-1) for p in zip(*parts, strict=True))
    sides = []
    for X in (U, V):
        P, _, Qt = torch.linalg.svd(X, full_matrices=False)
        sides.append(P @ Qt)
    expected = sides[0] @ torch.diag(S) @ sides[1].T
    torch.testing.assert_close(TSV.merge(inputs), expected, atol=1e-10, rtol=1e-10)


def test_orthogonal_adapters_are_summed() -> None:
    eye = torch.eye(6).double()
    updates = [Factors(eye[:2], eye[:, :2]), Factors(eye[2:4], 3 * eye[:, 3:5])]
    expected = updates[0].dense() + updates[1].dense()
    torch.testing.assert_close(TSV.merge(Stack.of(updates)), expected)
