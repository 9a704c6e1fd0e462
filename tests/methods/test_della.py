"""DELLA: the probabilities, the arithmetic on the numbers drawn, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from factories.adapters import rows
from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.methods.entrywise._drop import draw_integers
from robustmerge.methods.entrywise._entries import view_of
from robustmerge.methods.entrywise.della import _probabilities, order_in_rows
from robustmerge.testing import MethodCase, check_method, random_stack

ROW = [0.1, -0.4, 0.2, 0.3]


def della(inputs: Stack, **settings: Any) -> Tensor:
    return MethodCase.of("della", settings).merge(inputs)


def probabilities(tau: list[float], density: float, epsilon: float) -> list[float]:
    """By the definition, one entry after the other."""
    order = sorted(range(len(tau)), key=lambda j: abs(tau[j]))
    step = 2 * epsilon / (len(tau) - 1)
    return [density - epsilon + step * order.index(j) for j in range(len(tau))]


def dropped(inputs: Stack, part: str, t: int, x: Tensor, **settings: float) -> Tensor:
    """Return an adapter's entries by the definition, with the numbers the method draws."""
    drawn = draw_integers(inputs.bits(0, part, t), x.numel(), np.uint32).astype(np.float64)
    uniform = torch.from_numpy(drawn / 2**32).view(x.shape)
    p = torch.tensor([probabilities(row, **settings) for row in x.tolist()], dtype=x.dtype)
    return x * (uniform < p) / p


def test_worked_numbers() -> None:
    p = _probabilities(4, 0.5, 0.1)[[0, 3, 1, 2]].float()
    assert order_in_rows(torch.tensor([ROW])).tolist() == [[0, 2, 3, 1]]
    torch.testing.assert_close(p, torch.tensor([0.4, 0.6, 0.4667, 0.5333]), atol=1e-4, rtol=0)
    values = [0.25, -0.6667, 0.4286, 0.5625]
    result = [della(rows(ROW), density=0.5, epsilon=0.1, space="delta", seed=s) for s in range(9)]
    for j, value in enumerate(values):
        seen = {round(float(x[0, j]), 4) for x in result}
        assert seen == {0.0, value}


@pytest.mark.parametrize("combine", ["linear", "ties"])
def test_deltas_by_the_definition(combine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 50)  # 5 rows of 10
    inputs = random_stack(12, 10, (3, 0, 4), weights=(1, 2, -0.5))
    kept = []
    for t, f in enumerate(inputs.factors):
        bands = f.dense().split(5)
        parts = [
            dropped(inputs, f"delta/{5 * i}", t, x, density=0.6, epsilon=0.2)
            for i, x in enumerate(bands)
        ]
        kept.append(torch.cat(parts))
    x = torch.stack(kept)
    weighted = x * torch.tensor(inputs.weights)[:, None, None]
    if combine == "linear":
        expected = weighted.sum(0)
    else:
        sign = x.sum(0).sign()
        agree = (x.sign() == sign) & (x != 0)
        expected = (weighted * agree).sum(0) / agree.sum(0).clamp_min(1)
    result = della(inputs, density=0.6, epsilon=0.2, space="delta", combine=combine)
    torch.testing.assert_close(result, expected)


def test_factors_are_ranked_within_their_rows_at_each_adapters_own_rank() -> None:
    inputs = random_stack(12, 10, (2, 4), weights=(4, 1))
    parts = {"A": [f.A for f in inputs.factors], "B": [f.B.T for f in inputs.factors]}
    merged = []
    for part, taus in parts.items():
        first, second = (
            dropped(inputs, part, t, x, density=0.7, epsilon=0.07) for t, x in enumerate(taus)
        )
        merged.append(2 * torch.nn.functional.pad(first, (0, 0, 0, 2)) + second)
    A, B = merged
    torch.testing.assert_close(della(inputs, combine="linear"), B.T @ A)


def test_mergekit_matches_sums_of_magnitudes() -> None:
    inputs = random_stack(12, 10, (3,), weights=(3,))
    result = della(inputs, flavor="mergekit", combine="linear", space="delta")
    whole = 3 * inputs.factors[0].dense()
    assert 0 < int((result == 0).sum()) < 80
    torch.testing.assert_close(result.abs().sum(), whole.abs().sum())
    ratio = (result / whole)[result != 0]
    torch.testing.assert_close(ratio, ratio[:1].expand(ratio.shape))


def test_mergekit_elects_with_weights_and_divides_by_them() -> None:
    inputs = rows([1.0], [2.0], [-4.0], weights=(2, 2, 1))
    assert della(inputs, density=1, space="delta").item() == -4
    assert della(inputs, density=1, space="delta", flavor="mergekit").item() == (2 + 4) / 4


def test_signs_are_elected_with_scalings_folded_in() -> None:
    """Let the first A be longer in its file, and the second in its update."""
    first = Factors(torch.tensor([[3.0]]).double(), torch.tensor([[1.0]]).double())
    second = Factors(torch.tensor([[-2.0]]).double(), torch.tensor([[-4.0]]).double())
    inputs = Stack("module", (first, second), (1.0, 1.0), (1.0, 4.0))
    result = della(inputs, density=1)
    assert result.item() == (-2 * 2) * (-4 / 2)


def test_larger_entries_are_kept_more_often() -> None:
    inputs = random_stack(400, 50, (40,))
    (entries,) = view_of(inputs, "delta").entries
    (block,) = entries.blocks()
    kept = della(inputs, density=0.5, epsilon=0.4, space="delta", combine="linear") != 0
    ranks = block.x[0].abs().argsort(1).argsort(1)
    share = torch.stack([kept[ranks == rank].double().mean() for rank in range(50)])
    expected = torch.linspace(0.1, 0.9, 50).double()
    assert float((share - expected).abs().max()) < 4 * (0.25 / 400) ** 0.5


@pytest.mark.parametrize("flavor", ["paper", "mergekit"])
def test_density_one_drops_nothing(flavor: str) -> None:
    inputs = random_stack(weights=(1, 2, -1))
    result = della(inputs, density=1, flavor=flavor, combine="linear", space="delta")
    expected = sum(w * f.dense() for f, w in zip(inputs.factors, inputs.weights, strict=True))
    torch.testing.assert_close(result, expected)


def test_equal_magnitudes_and_rows_of_one_entry() -> None:
    assert order_in_rows(torch.tensor([[1.0, -1, 1]])).tolist() == [[0, 1, 2]]
    assert _probabilities(3, 0.5, 0.2).tolist() == pytest.approx([0.3, 0.5, 0.7])
    assert _probabilities(1, 0.5, 0.2).tolist() == [0.5]


@pytest.mark.parametrize(("density", "epsilon"), [(0.3, 0.3), (0.9, 0.2)])
def test_what_is_no_probability_is_refused(density: float, epsilon: float) -> None:
    with pytest.raises(MergeError, match="is no probability above 0"):
        della(random_stack(), density=density, epsilon=epsilon)


def test_negative_weights_where_weights_divide_are_refused() -> None:
    inputs = random_stack(weights=(1, 1, -1))
    with pytest.raises(MergeError, match="must not be negative"):
        della(inputs, flavor="mergekit")
    della(inputs, flavor="mergekit", combine="linear")


@pytest.mark.parametrize("flavor", ["paper", "mergekit"])
def test_the_contract_holds_where_all_are_summed(flavor: str) -> None:
    check_method("della", {"combine": "linear", "flavor": flavor})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entries_ascend_by_magnitude_and_equal_ones_by_place(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(-4, 5, (15, 40), generator=g).to(dtype) / 8
    assert torch.equal(order_in_rows(x), x.abs().argsort(dim=1, stable=True))
    wide = torch.randn(6, 1000, generator=g, dtype=dtype)
    wide[1] = 1 + 1e-4 * wide[1]  # whose upper halves are few
    assert torch.equal(order_in_rows(wide), wide.abs().argsort(dim=1, stable=True))
