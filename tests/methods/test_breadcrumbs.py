"""Model Breadcrumbs against the worked example and the definition written slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import rows
from robustmerge.factors import Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.methods.entrywise.breadcrumbs import bounds_in_rows
from robustmerge.testing import MethodCase, check_method, random_stack

FLAVORS = ("paper", "mergekit")
TENTHS = [round(0.1 * i, 1) for i in range(1, 11)]


def merge_breadcrumbs(inputs: Stack, **settings: Any) -> Tensor:
    return MethodCase.of("breadcrumbs", settings).merge(inputs)


def kept(tau: Sequence[float], density: float, gamma: float) -> list[float]:
    """Return the next entries after the largest ones, one after the other."""
    order = sorted(range(len(tau)), key=lambda j: -abs(tau[j]))
    out, keep = int(len(tau) * gamma), int(len(tau) * density)
    left = set(order[out : out + keep])
    return [x if j in left else 0.0 for j, x in enumerate(tau)]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_worked_numbers(flavor: str) -> None:
    settings = {"density": 0.5, "gamma": 0.1, "space": "delta", "flavor": flavor}
    result = merge_breadcrumbs(rows(TENTHS), **settings)[0]
    assert result.tolist() == [0, 0, 0, 0, 0.5, 0.6, 0.7, 0.8, 0.9, 0]


@pytest.mark.parametrize("density", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("flavor", FLAVORS)
def test_deltas_by_the_definition(
    flavor: str, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 70)  # 3 rows of 20
    inputs = random_stack(11, 20, (3, 0, 5), weights=(1, 2, -0.5))
    expected = torch.zeros(11, 20).double()
    for f, w in zip(inputs.factors, inputs.weights, strict=True):
        x = f.dense() if flavor == "paper" else f.dense().flatten()[None]
        left = torch.tensor([kept(row, density, 0.1) for row in x.tolist()], dtype=x.dtype)
        expected += w * left.view(11, 20)
    result = merge_breadcrumbs(inputs, density=density, gamma=0.1, space="delta", flavor=flavor)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_factors_at_each_adapters_own_rank(flavor: str) -> None:
    inputs = random_stack(12, 10, (2, 4), weights=(4, -1))
    merged = []
    for taus in ([f.A for f in inputs.factors], [f.B.T for f in inputs.factors]):
        left = []
        for x in taus:
            vectors = x.tolist() if flavor == "paper" else [x.flatten().tolist()]
            result = [kept(v, 0.4, 0.1) for v in vectors]
            left.append(torch.tensor(result, dtype=x.dtype).view(x.shape))
        sign = 1 if merged else -1  # of the second adapter's weight, which A has
        merged.append(2 * torch.nn.functional.pad(left[0], (0, 0, 0, 2)) + sign * left[1])
    A, B = merged
    whole = merge_breadcrumbs(inputs, density=0.4, gamma=0.1, flavor=flavor)
    torch.testing.assert_close(whole, B.T @ A)


def test_where_shares_do_not_fit_mergekit_leaves_fewer_outliers_out() -> None:
    inputs, settings = rows([1.0, 2, 3, 4]), {"gamma": 0.5, "space": "delta"}
    assert merge_breadcrumbs(inputs, density=0.75, **settings).tolist() == [[1, 2, 0, 0]]
    assert merge_breadcrumbs(inputs, density=0.75, flavor="mergekit", **settings).tolist() == [
        [1, 2, 3, 0]
    ]
    assert merge_breadcrumbs(inputs, density=1, flavor="mergekit", **settings).tolist() == [
        [1, 2, 3, 4]
    ]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_less_than_one_entry_is_none(flavor: str) -> None:
    assert not merge_breadcrumbs(rows([1.0, 2, 3]), density=0.3, space="delta", flavor=flavor).any()


@pytest.mark.parametrize("flavor", FLAVORS)
def test_equal_magnitudes_at_either_end_are_all_kept(flavor: str) -> None:
    inputs = rows([5.0, 3, -3, 2, 1, -1, 0.5, 0.1])
    result = merge_breadcrumbs(inputs, density=0.375, gamma=0.25, space="delta", flavor=flavor)
    assert result.tolist() == [[0, 3, -3, 2, 1, -1, 0, 0]]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_signs_are_elected_with_weights_and_who_agrees_is_summed(flavor: str) -> None:
    inputs = rows([1.0, 1], [2.0, 1], [-4.0, 1], weights=(2, 2, 1))
    settings = {"density": 1, "gamma": 0, "space": "delta", "combine": "ties", "flavor": flavor}
    assert merge_breadcrumbs(inputs, **settings).tolist() == [[6, 5]]
    assert merge_breadcrumbs(inputs.reweighted((1.0, 1.0, 1.0)), **settings).tolist() == [[-4, 3]]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_signs_are_elected_with_scalings_folded_in(flavor: str) -> None:
    """Check scalings at weights of 1: they only change the lengths of A and B."""
    first = Factors(torch.tensor([[3.0]]).double(), torch.tensor([[1.0]]).double())
    second = Factors(torch.tensor([[-2.0]]).double(), torch.tensor([[-4.0]]).double())
    inputs = Stack("module", (first, second), (1.0, 1.0), (1.0, 4.0))
    result = merge_breadcrumbs(inputs, density=1, gamma=0, combine="ties", flavor=flavor)
    assert result.item() == (-2 * 2) * (-4 / 2)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_the_contract_holds_where_signs_are_elected(flavor: str) -> None:
    check_method("breadcrumbs", {"combine": "ties", "flavor": flavor})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_of_rows_are_what_sorting_finds(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    size = torch.randn(2, 5, 300, generator=g, dtype=dtype).abs()
    size[0, 1] = 1 + 1e-4 * size[0, 1]  # whose upper halves are few
    size[1, 2], size[1, 3, ::2] = 0, 0.5
    for position in (0, 40, 150, 299):
        (bound,) = bounds_in_rows(size, position)
        assert torch.equal(bound[..., 0], size.sort(dim=2).values[..., position])
