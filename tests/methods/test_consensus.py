"""Consensus Merging against the worked example and the definition written slowly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import rows
from robustmerge.factors import Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.testing import MethodCase, check_method, random_stack

COMBINE = ("sum", "ties")


def consensus(inputs: Stack, **settings: Any) -> Tensor:
    return MethodCase.of("consensus", settings).merge(inputs)


def by_hand(taus: list[list[float]], ratio: float, k: int, keep: int | None) -> list[float]:
    """Entry by entry; `keep` entries are left by TIES, and without it entries are summed."""
    floors = [sorted(map(abs, tau))[-keep] if keep else 0.0 for tau in taus]
    result = []
    for entry in zip(*taus, strict=True):
        every = sum(entry)
        if keep:
            left = [x if abs(x) >= floor else 0.0 for x, floor in zip(entry, floors, strict=True)]
            agree = [x for x in left if x * sum(left) > 0]
            every = sum(agree) / len(agree) if agree else 0.0
        needed = sum(abs(x) > ratio * abs(every - x) for x in entry)
        result.append(every if needed >= k else 0.0)
    return result


def test_worked_numbers() -> None:
    inputs = rows([1.0, -2, 3], [2.0, 1, -1])
    assert consensus(inputs, space="delta").tolist() == [[3, -1, 0]]
    # The masks are [1, 1, 1] and [1, 1, 0].
    assert consensus(inputs, k=1, space="delta").tolist() == [[3, -1, 2]]
    assert consensus(inputs, k=3, space="delta").tolist() == [[3, -1, 0]]


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize(("ratio", "k"), [(0.2, 2), (0.6, 2), (0.4, 1), (0.4, 3)])
def test_deltas_by_the_definition(
    combine: str, ratio: float, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    inputs = random_stack(12, 10, (3, 1, 5, 2), weights=(1, 2, -0.5, 1))
    taus = [
        (w * f.dense()).flatten().tolist()
        for f, w in zip(inputs.factors, inputs.weights, strict=True)
    ]
    expected = by_hand(taus, ratio, k, int(120 * 0.3) if combine == "ties" else None)
    actual = consensus(inputs, ratio=ratio, k=k, combine=combine, density=0.3, space="delta")
    assert actual.flatten().tolist() == pytest.approx(expected)
    assert actual.any()


@pytest.mark.parametrize("combine", COMBINE)
def test_an_entry_that_no_second_adapter_needs_is_left_out(combine: str) -> None:
    inputs = rows([1.0, 5.0], [1.0, 0.0], [1.0, 0.1])
    actual = consensus(inputs, combine=combine, density=1, space="delta")
    assert actual.tolist() == [[3 if combine == "sum" else 1, 0]]


def test_one_adapter_is_itself_and_one_among_absent_ones_is_not() -> None:
    (alone,) = random_stack(ranks=(3,)).factors
    first = consensus(Stack.of([alone]), space="delta")
    torch.testing.assert_close(first, alone.dense())
    absent = Factors(alone.A[:0], alone.B[:, :0])
    assert not consensus(Stack.of([alone, absent]), space="delta").any()


def test_the_contract_holds_with_ties() -> None:
    check_method("consensus", {"combine": "ties"})


def test_as_large_as_the_others_part_is_not_larger() -> None:
    inputs = rows([1.0, 1.5], [1.0, 1.5])
    assert not consensus(inputs, ratio=1, space="delta").any()
    assert consensus(inputs, ratio=0.99, space="delta").tolist() == [[2, 3]]
