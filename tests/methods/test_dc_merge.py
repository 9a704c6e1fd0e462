"""DC-Merge against its worked smoothing and its dense definition."""

from __future__ import annotations

import pytest
import torch

from robustmerge.factors import Factors, Stack
from robustmerge.methods.spectral.dc_merge import Smoothing, smooth
from robustmerge.testing import MethodCase, random_stack

DC = MethodCase.of("dc-merge")


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [("avg", [2, 2, 2, 2]), ("linear", [3.2, 2.4, 1.6, 0.8]), ("none", [4, 2, 1, 1])],
)
def test_worked_smoothing(smoothing: Smoothing, expected: list[float]) -> None:
    smoothed = smooth(torch.tensor([4.0, 2, 1, 1]), smoothing, 5.0)
    torch.testing.assert_close(smoothed, torch.tensor(expected, dtype=torch.float32))


def test_the_ramp_is_no_steeper_than_rho() -> None:
    smoothed = smooth(torch.tensor([90.0, 5, 5]), "linear", 3.0)
    torch.testing.assert_close(smoothed, torch.tensor([50, 100 / 3, 50 / 3]))


@pytest.mark.parametrize("density", [0.001, 0.4, 1.0])
@pytest.mark.parametrize("smoothing", ["avg", "linear", "none"])
def test_the_core_equals_the_dense_definition(smoothing: Smoothing, density: float) -> None:
    inputs = random_stack(20, 25, (3, 2, 3), weights=(1, 0.5, -2))
    parts = []
    for f, w in zip(inputs.factors, inputs.weights, strict=True):
        U, S, Vh = torch.linalg.svd(w * f.dense(), full_matrices=False)
        parts.append((U[:, : f.rank], smooth(S[: f.rank], smoothing, 5.0), Vh[: f.rank].T))
    cover = []
    for X in (torch.cat([p[0] for p in parts], 1), torch.cat([p[2] for p in parts], 1)):
        P, _, Qt = torch.linalg.svd(X, full_matrices=False)
        cover.append(P @ Qt)
    cores = []
    for f, (U, S, V) in zip(inputs.factors, parts, strict=True):
        M = cover[0].T @ U @ torch.diag(S) @ V.T @ cover[1]
        keep = max(int(density * 64), f.rank)
        cores.append(torch.where(M.abs() >= M.abs().flatten().sort().values[-keep], M, 0))
    voted = torch.zeros(8, 8).double()
    for first, last in ((0, 3), (3, 5), (5, 8)):
        for i in range(first, last):
            for j in range(first, last):
                entries = [float(M[i, j]) for M in cores]
                agree = [x for x in entries if x * sum(entries) > 0]
                voted[i, j] = sum(agree) / max(len(agree), 1)
    expected = cover[0] @ voted @ cover[1].T
    merged = DC.merge(inputs, smoothing=smoothing, density=density)
    torch.testing.assert_close(merged, expected, atol=1e-10, rtol=1e-10)


def test_orthogonal_adapters_are_summed_where_nothing_is_smoothed() -> None:
    eye = torch.eye(6).double()
    updates = [Factors(eye[:2], eye[:, :2] * 2), Factors(eye[2:4], 3 * eye[:, 3:5])]
    expected = updates[0].dense() + updates[1].dense()
    torch.testing.assert_close(DC.merge(Stack.of(updates), smoothing="none"), expected)


def test_every_direction_survives_however_few_entries_the_density_asks_for() -> None:
    f = random_stack(12, 10, (3,)).factors[0]
    U, S, Vh = torch.linalg.svd(f.dense(), full_matrices=False)
    expected = U[:, :3] @ Vh[:3] * S[:3].mean()
    torch.testing.assert_close(DC.merge(Stack.of([f])), expected)


def test_opposite_adapters_leave_nothing() -> None:
    f = random_stack(12, 10, (3,)).factors[0]
    merged = DC.merge(Stack.of([f, f.scaled(-1.0)]))
    assert float(merged.norm()) < 1e-10 * float(f.dense().norm())
