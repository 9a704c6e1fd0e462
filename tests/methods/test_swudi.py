"""SWUDI against its dense definition."""

from __future__ import annotations

import pytest
import torch

from factories.dense_interference import deltas_of, filtered, moments
from robustmerge.testing import MethodCase, random_stack

WUDI = MethodCase.of("wudi", {"solve": "exact"})


@pytest.mark.parametrize("start", ["sum", "mean", "zero"])
@pytest.mark.parametrize(
    ("flavor", "density", "K"), [("rank", 0.6, 6), ("paper", 0.1, 6), ("paper", 0.65, 9)]
)
def test_the_core_equals_the_dense_definition(
    start: str, flavor: str, density: float, K: int
) -> None:
    inputs = random_stack(40, 60, (3, 2, 3, 1), weights=(1, 0.5, 2, 1))
    deltas = deltas_of(inputs)
    lam, V = torch.linalg.eigh(moments(deltas)[0])
    lam, V = lam.flip(0)[:K], V.flip(1)[:, :K]
    starts = {"sum": deltas.sum(0), "mean": deltas.mean(0), "zero": torch.zeros(40, 60).double()}
    expected = filtered(deltas, 1 - torch.exp(-2 * lam), V, starts[start])
    case = MethodCase.of(
        "swudi", {"time": 2.0, "density": density, "start": start, "flavor": flavor}
    )
    torch.testing.assert_close(case.merge(inputs), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("density", [0.28, 0.56, 0.64])
def test_a_share_of_all_directions_is_not_rounded_to_one_more(density: float) -> None:
    inputs = random_stack(30, 40, (10, 15))
    K = round(density * 25)
    first = MethodCase.of("swudi", {"density": density}).merge(inputs)
    second = MethodCase.of("swudi", {"density": (K - 0.5) / 25}).merge(inputs)
    assert torch.equal(first, second)


def test_all_directions_and_endless_time_are_wudi() -> None:
    inputs = random_stack(12, 9, (2, 3))
    merged = MethodCase.of("swudi", {"density": 1.0, "time": 1e9, "start": "mean"}).merge(inputs)
    torch.testing.assert_close(merged, WUDI.merge(inputs))


def test_time_zero_is_the_start() -> None:
    inputs = random_stack(12, 9, (2, 3), weights=(1, 0.5))
    merged = MethodCase.of("swudi", {"time": 0.0, "start": "mean"}).merge(inputs)
    torch.testing.assert_close(merged, deltas_of(inputs).mean(0))
