"""OCAP against the worked example of Iso-CTS and its dense definition."""

from __future__ import annotations

import torch

from robustmerge.factors import Factors, Stack
from robustmerge.methods.spectral._common_specific import common_and_specific
from robustmerge.methods.spectral.ocap import norm_cap
from robustmerge.testing import MethodCase, random_stack

OCAP = MethodCase.of("ocap")


def diagonal(*entries: float) -> torch.Tensor:
    return torch.diag(torch.tensor(entries)).double()


def test_worked_numbers_of_iso_cts() -> None:
    deltas = torch.stack([diagonal(3, 1, 0), diagonal(3, 0, 2)])
    torch.testing.assert_close(common_and_specific(deltas, 0.5), diagonal(3, 3, 3))


def test_worked_cap() -> None:
    """Norms 1, 2, 4, 10: median 3, distances 2, 1, 1, 7, of which the median is 1.5."""
    result = norm_cap(torch.tensor([1.0, 10, 2, 4]), 3.0)
    assert float(result) == 7.5


def flat(delta: torch.Tensor, rank: int) -> torch.Tensor:
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    return U[:, :rank] @ Vh[:rank] * S[:rank].mean()


def test_the_core_equals_the_dense_definition() -> None:
    inputs = random_stack(30, 35, (4, 2, 3, 3), weights=(1, 0.5, 2, -9))
    deltas = [
        flat(w * f.dense(), f.rank) for f, w in zip(inputs.factors, inputs.weights, strict=True)
    ]
    norms = sorted(float(d.norm()) for d in deltas)
    median = (norms[1] + norms[2]) / 2
    apart = sorted(abs(n - median) for n in norms)
    bound = median + 3 * (apart[1] + apart[2]) / 2
    assert norms[2] < bound < norms[3]
    deltas = [d * min(1.0, bound / float(d.norm())) for d in deltas]
    # Of 12 directions 6 are common; the other 6 are 1.5, rounded to 2, for each adapter.
    U, S, Vh = torch.linalg.svd(sum(deltas), full_matrices=False)
    parts = [(U[:, :4], S[:4], Vh[:4].T)]
    for d in deltas:
        left, sizes, right = torch.linalg.svd(d - U[:, :4] @ U[:, :4].T @ d, full_matrices=False)
        parts.append((left[:, :2], sizes[:2], right[:2].T))
    sides = []
    for X in (torch.cat([p[0] for p in parts], 1), torch.cat([p[2] for p in parts], 1)):
        P, _, Qt = torch.linalg.svd(X, full_matrices=False)
        sides.append(P @ Qt)
    expected = torch.cat([p[1] for p in parts]).mean() * sides[0] @ sides[1].T
    torch.testing.assert_close(OCAP.merge(inputs), expected, atol=1e-9, rtol=1e-9)


def test_all_common_is_one_singular_value_on_the_sum() -> None:
    inputs = random_stack(20, 25, (3, 2))
    total = sum(flat(f.dense(), f.rank) for f in inputs.factors)
    torch.testing.assert_close(OCAP.merge(inputs, common=1.0), flat(total, 5))


def test_one_adapter_is_flattened() -> None:
    first = random_stack(12, 10, (3,))
    torch.testing.assert_close(OCAP.merge(first), flat(first.factors[0].dense(), 3))


def test_what_the_common_directions_leave_is_no_direction_where_it_is_rounding() -> None:
    U, _, Vh = torch.linalg.svd(random_stack(12, 10, (4,)).factors[0].dense(), full_matrices=False)
    first, second = 9 * U[:, :1] @ Vh[:1], U[:, 1:4] @ torch.diag(U.new_tensor([3, 2, 1])) @ Vh[1:4]
    # Common are the directions of 9 and 3; the first update has nothing else, the second that of 2.
    expected = (9 + 3 + 2) / 3 * U[:, :3] @ Vh[:3]
    torch.testing.assert_close(common_and_specific(torch.stack([first, second]), 0.5), expected)


def test_an_absent_adapter_changes_nothing() -> None:
    inputs = random_stack(20, 25, (4, 2, 3))
    more = Stack.of([*inputs.factors, Factors(torch.zeros(0, 25), torch.zeros(20, 0))])
    torch.testing.assert_close(OCAP.merge(more), OCAP.merge(inputs))
