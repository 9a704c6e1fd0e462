"""Fisher merging against its worked example and its formula, entry by entry."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.testing import MethodCase, random_stack
from robustmerge.testing.cases import statistics

FISHER = MethodCase.of("fisher")


def test_worked_numbers() -> None:
    unit = torch.tensor([[1.0]])
    inputs = Stack.of(
        [Factors(torch.tensor([[1.0, 0]]), unit), Factors(torch.tensor([[0.0, 2]]), unit)]
    )
    information = [torch.tensor([[4.0, 1]]).double(), torch.tensor([[1.0, 1]]).double()]
    data = tuple({"fisher_A": F, "fisher_B": unit.double()} for F in information)
    merged = FISHER.merge(replace(inputs, data=data))
    torch.testing.assert_close(merged, torch.tensor([[0.8, 1.0]]).double())


def average(stack: Stack, side: str, i: int, j: int) -> float:
    """Return one entry, over the adapters that have it."""
    total = weight = 0.0
    for f, w, result in zip(stack.factors, stack.weights, stack.data, strict=True):
        if (i if side == "A" else j) < f.rank:
            x = f.A if side == "A" else f.B
            F = w * max(float(result[f"fisher_{side}"][i, j]), 1e-6)
            total, weight = total + F * float(x[i, j]), weight + F
    return total / weight


def test_every_entry_is_the_weighted_mean_of_the_adapters_that_have_it() -> None:
    plain = random_stack(5, 4, (2, 0, 3, 1), weights=(1, 1, 0.5, 2))
    inputs = replace(plain, data=statistics(plain))
    inputs.data[0]["fisher_A"][0] = 0.0
    A = [[average(inputs, "A", i, j) for j in range(4)] for i in range(3)]
    B = [[average(inputs, "B", i, j) for j in range(3)] for i in range(5)]
    expected = torch.tensor(B, dtype=torch.float64) @ torch.tensor(A, dtype=torch.float64)
    torch.testing.assert_close(FISHER.merge(inputs), expected)


def test_entries_without_information_are_plain_means() -> None:
    plain = random_stack(5, 4, (2, 2))
    nothing = tuple({k: torch.zeros_like(v) for k, v in d.items()} for d in statistics(plain))
    A = (plain.factors[0].A + plain.factors[1].A) / 2
    B = (plain.factors[0].B + plain.factors[1].B) / 2
    torch.testing.assert_close(FISHER.merge(replace(plain, data=nothing)), B @ A)


def test_one_adapter_with_the_module_keeps_it() -> None:
    inputs = random_stack(5, 4, (0, 3, 0))
    torch.testing.assert_close(FISHER.merge(inputs), inputs.factors[1].dense())


def test_all_weights_doubled_are_no_change_and_one_alone_is_itself() -> None:
    inputs = random_stack(5, 4, (2, 2))
    doubled = FISHER.merge(inputs.reweighted((2.0, 2.0)))
    torch.testing.assert_close(FISHER.merge(inputs), doubled)
    alone = FISHER.merge(inputs.reweighted((0.0, 3.0)))
    torch.testing.assert_close(alone, inputs.factors[1].dense())


@pytest.mark.parametrize("name", ["fisher_A", "fisher_B"])
def test_missing_data_are_named(name: str) -> None:
    inputs = random_stack(5, 4, (2, 2))
    result = statistics(inputs)
    del result[1][name]
    with pytest.raises(MergeError, match=name) as caught:
        FISHER.merge(replace(inputs, data=result))
    assert "robustmerge collect" in caught.value.hint
    assert "adapter 2 of 2" in caught.value.where


def test_negative_weights_are_refused() -> None:
    with pytest.raises(MergeError, match="negative"):
        FISHER.merge(random_stack(5, 4, (2, 2), weights=(1, -1)))
