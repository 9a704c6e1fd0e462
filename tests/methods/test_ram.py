"""RAM and RAM+ against the worked examples and the definition written slowly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import rows
from robustmerge.factors import Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.testing import MethodCase, check_method, random_stack

WORKED = rows([1.0, 0, 2], [3.0, 4, 0])


def ram(inputs: Stack, **settings: Any) -> Tensor:
    return MethodCase.of("ram", {"space": "delta", **settings}).merge(inputs)


def by_hand(taus: list[list[float]], threshold: float, r: float, alpha: float) -> list[float]:
    """Entry by entry."""
    changed = [[abs(x) > threshold for x in tau] for tau in taus]
    count = [sum(c) for c in zip(*changed, strict=True)]
    by = []
    for mine in changed:
        shared = sum(c and n > 1 for c, n in zip(mine, count, strict=True))
        alone = sum(c and n == 1 for c, n in zip(mine, count, strict=True))
        by.append(1 + r * min(shared / alone, alpha) if alone else 1.0)
    result = []
    for j, n in enumerate(count):
        own = [
            tau[j] * (b if n == 1 else 1)
            for tau, c, b in zip(taus, changed, by, strict=True)
            if c[j]
        ]
        result.append(sum(own) / n if n else 0.0)
    return result


def test_worked_numbers() -> None:
    assert ram(WORKED).tolist() == [[2, 4, 2]]
    actual = ram(WORKED, plus=True)
    torch.testing.assert_close(actual, torch.tensor([[2, 4 * 1.02, 2 * 1.02]]).double())


def test_the_ratio_of_shared_to_own_entries_is_limited() -> None:
    actual = ram(WORKED, plus=True, r=0.5, alpha=3)
    assert actual.tolist() == [[2, 6, 3]]


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.5])
def test_deltas_by_the_definition(
    epsilon: float, plus: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    inputs = random_stack(12, 10, (3, 1, 5, 2), weights=(1, 2, -0.5, 1))
    taus = [w * f.dense().flatten() for f, w in zip(inputs.factors, inputs.weights, strict=True)]
    size = max(float(tau.square().mean().sqrt()) for tau in taus)
    r = 0.3 if plus else 0.0
    expected = by_hand([tau.tolist() for tau in taus], epsilon * size, r, 0.8)
    actual = ram(inputs, epsilon=epsilon, plus=plus, r=0.3, alpha=0.8)
    assert actual.flatten().tolist() == pytest.approx(expected)


def test_sizes_are_those_of_an_adapters_own_entries() -> None:
    """Merge a factor of rank 1 with one of rank 4."""
    inputs = random_stack(12, 10, (1, 4))
    first, second = (f.pad(4) for f in inputs.factors)
    merged = []
    for x, y, n in ((first.A, second.A, 10), (first.B, second.B, 12)):
        sizes = [float(x.square().sum() / n), float(y.square().sum() / (4 * n))]
        taus = [x.flatten().tolist(), y.flatten().tolist()]
        actual = by_hand(taus, 0.8 * max(sizes) ** 0.5, 0, 0)
        merged.append(torch.tensor(actual, dtype=torch.float64).view(x.shape))
    A, B = merged
    torch.testing.assert_close(ram(inputs, epsilon=0.8, space="factor"), B @ A)


def test_an_adapter_without_the_module_changes_nothing() -> None:
    inputs = random_stack()
    absent = Factors(torch.zeros(0, 25).double(), torch.zeros(30, 0).double())
    more = Stack.of([*inputs.factors, absent])
    assert torch.equal(ram(inputs, plus=True), ram(more, plus=True))


def test_the_contract_holds_with_plus() -> None:
    check_method("ram", {"plus": True})
