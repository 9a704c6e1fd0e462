"""Iso-C and Iso-CTS against their worked examples and dense definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack

ISO_C, ISO_CTS = MethodCase.of("iso-c"), MethodCase.of("iso-cts")


def diagonal(*values: float) -> Factors:
    return Factors(torch.diag(torch.tensor(values)), torch.eye(len(values)))


def orthogonal(X: Tensor) -> Tensor:
    P, _, Qt = torch.linalg.svd(X, full_matrices=False)
    return P @ Qt


@pytest.mark.parametrize("flavor", ["rank", "paper"])
def test_worked_number_of_iso_c(flavor: str) -> None:
    result = MethodCase.of("iso-c", {"flavor": flavor}).merge(Stack.of([diagonal(3.0, 1.0)]))
    torch.testing.assert_close(result, 2 * torch.eye(2).double())


def test_iso_c_in_the_core_equals_the_dense_definition() -> None:
    inputs = random_stack(40, 60, (3, 2, 4), weights=(1, -0.5, 2))
    total = sum(w * f.dense() for w, f in zip(inputs.weights, inputs.factors, strict=True))
    U, S, Vh = torch.linalg.svd(total, full_matrices=False)
    expected = S[:9].mean() * U[:, :9] @ Vh[:9]
    torch.testing.assert_close(ISO_C.merge(inputs), expected, atol=1e-10, rtol=1e-10)


def test_directions_that_are_rounding_have_no_part_in_iso_c() -> None:
    """Published, the mean is over them too."""
    inputs = random_stack(40, 40, (3, 3, 3, 3))
    strengths = {}
    for flavor in ("rank", "paper"):
        merged = MethodCase.of("iso-c", {"flavor": flavor}).merge(inputs)
        strengths[flavor] = torch.linalg.svdvals(merged)
    assert (strengths["rank"] > 1).sum() == 12
    assert (strengths["paper"] > 1).sum() == 40
    torch.testing.assert_close(strengths["rank"][0] * 12, strengths["paper"][0] * 40)


@pytest.mark.parametrize("flavor", ["rank", "paper"])
def test_worked_number_of_iso_cts(flavor: str) -> None:
    """Merge one common direction and one of each adapter, of strengths 6, 1 and 2."""
    inputs = Stack.of([diagonal(3.0, 1.0, 0.0), diagonal(3.0, 0.0, 2.0)])
    result = MethodCase.of("iso-cts", {"common": 0.4, "flavor": flavor}).merge(inputs)
    torch.testing.assert_close(result, 3 * torch.eye(3).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("common", "c", "s"), [(0.8, 10, 1), (0.4, 4, 3), (1.0, 13, 0)])
def test_iso_cts_in_the_core_equals_the_dense_definition(common: float, c: int, s: int) -> None:
    inputs = random_stack(40, 60, (5, 3, 5), weights=(1, -0.5, 2))
    deltas = [w * f.dense() for w, f in zip(inputs.weights, inputs.factors, strict=True)]
    U, S, Vh = torch.linalg.svd(sum(deltas, torch.zeros(40, 60)), full_matrices=False)
    parts = [(U[:, :c], S[:c], Vh[:c].T)]
    for delta in deltas:
        rest = delta - parts[0][0] @ parts[0][0].T @ delta
        U, S, Vh = torch.linalg.svd(rest, full_matrices=False)
        parts.append((U[:, :s], S[:s], Vh[:s].T))
    U, S, V = (torch.cat(p, dim=-1) for p in zip(*parts, strict=True))
    expected = S.mean() * orthogonal(U) @ orthogonal(V).T
    result = MethodCase.of("iso-cts", {"common": common}).merge(inputs)
    torch.testing.assert_close(result, expected, atol=1e-10, rtol=1e-10)


def test_iso_cts_without_specific_directions_is_iso_c() -> None:
    inputs = random_stack(40, 60, (1, 2, 1))
    torch.testing.assert_close(ISO_CTS.merge(inputs), ISO_C.merge(inputs))


@pytest.mark.parametrize("common", [0.0, 0.5, 0.8])
def test_a_zero_adapter_and_one_without_the_module_change_no_direction(common: float) -> None:
    """They take their share of the specific directions and bring nothing."""
    inputs = random_stack(40, 60, (6, 6))
    zero = Factors(inputs.factors[0].A * 0, random_stack(40, 60, (6,), seed=1).factors[0].B)
    none = Factors(zero.A[:0], zero.B[:, :0])
    result = MethodCase.of("iso-cts", {"common": common}).merge(
        Stack.of([none, zero, *inputs.factors])
    )
    space = torch.cat([f.B for f in inputs.factors], dim=1)
    Q = torch.linalg.qr(space).Q
    torch.testing.assert_close(Q @ (Q.T @ result), result)


def test_an_update_in_the_common_space_adds_no_direction() -> None:
    """Lift no direction from the rounding that projecting leaves."""
    g = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(10, 10, generator=g, dtype=torch.float64)).Q
    strengths = torch.arange(9.0, 1, -1).double()
    first = Factors(Q[:4] * strengths[:4, None], Q[:, :4])
    second = Factors(Q[4:8] * strengths[4:, None], Q[:, 4:8])
    inside = Factors(0.01 * Q[8:], Q[:, :2])
    # Of 8 directions 5 are common, and only the second adapter has something outside of them.
    merged = MethodCase.of("iso-cts", {"common": 0.6}).merge(Stack.of([first, second, inside]))
    result = torch.linalg.svdvals(merged)
    assert (result > 1e-6).sum() == 6
    assert abs(float(result[0]) - (9 + 8 + 7 + 6 + 5 + 4) / 6) < 1e-4


def test_updates_that_cancel_merge_to_zero() -> None:
    """Lift no common direction from a sum that is rounding."""
    (single,) = random_stack(40, 60, (4,)).factors
    G = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other = Factors(G @ single.A, single.B @ torch.linalg.inv(-G))
    for case in (ISO_C, MethodCase.of("iso-cts", {"common": 0.5})):
        assert case.merge(Stack.of([single, other])).norm() < 1e-9
