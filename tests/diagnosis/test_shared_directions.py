"""Planted shared directions, and the edge that random spaces do not pass."""

from __future__ import annotations

import pytest
import torch

from factories.planted_updates import change_coordinates, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.diagnosis.shared_directions import (
    SharedDirections,
    chance_edge,
    measure_shared_directions,
)
from robustmerge.factors import Factors


def sides(*updates: Factors) -> tuple[SharedDirections, SharedDirections]:
    inputs, outputs = measure_shared_directions("m", CoreSpace.of(updates))
    assert (inputs.side, outputs.side) == ("input", "output")
    return inputs, outputs


def test_planted_shared_directions() -> None:
    """Plant two input directions that all five adapters share, and one output of two of them."""
    U, V = orthonormal(200, 15, 1), orthonormal(200, 15, 2)
    updates = []
    for t in range(5):
        outputs = U[:, 3 * t : 3 * t + 3].clone()
        if t == 1:
            outputs[:, 0] = U[:, 0]  # the first adapter's largest
        inputs = torch.cat([V[:, :2], V[:, 2 + t : 3 + t]], dim=1)
        updates.append(change_coordinates(planted(outputs, [2, 1, 1], inputs), t))
    inputs, outputs = sides(*updates)
    assert (inputs.directions, inputs.shared) == (7, 2)
    assert inputs.largest == pytest.approx(1)
    assert inputs.energy == pytest.approx(5 / 6)
    assert (outputs.directions, outputs.shared) == (14, 1)
    assert outputs.largest == pytest.approx(2 / 5)
    assert outputs.energy == pytest.approx((4 / 6 + 4 / 6) / 5)
    assert inputs.chance == pytest.approx(chance_edge([3] * 5, 200) / 5)


def test_orthogonal_adapters_share_nothing() -> None:
    U = orthonormal(60, 12)
    updates = [
        planted(U[:, 3 * t : 3 * t + 3], [3, 2, 1], U[:, 3 * t : 3 * t + 3]) for t in range(4)
    ]
    for row in sides(*updates):
        assert (row.directions, row.shared) == (12, 0)
        assert row.largest == pytest.approx(1 / 4)
        assert row.energy == 0


@pytest.mark.parametrize(("T", "r", "d"), [(2, 40, 400), (8, 16, 1024), (8, 30, 300), (3, 90, 600)])
def test_the_edge_is_where_random_spaces_end(T: int, r: int, d: int) -> None:
    spaces = [orthonormal(d, r, seed) for seed in range(T)]
    largest = float(torch.linalg.svdvals(torch.cat(spaces, dim=1))[0] ** 2)
    assert largest == pytest.approx(chance_edge([r] * T, d), rel=0.04)


def test_random_spaces_share_nothing_beyond_chance() -> None:
    for seed in range(5):
        Q = [orthonormal(256, 16, 100 * seed + t) for t in range(8)]
        for row in sides(*(planted(X, [1] * 16, X) for X in Q)):
            assert row.shared == 0


def test_spaces_that_must_intersect_are_within_chance() -> None:
    assert chance_edge([9, 9], 10) == 2
    assert chance_edge([10, 10], 10) == 2
    for row in sides(
        *(planted(orthonormal(10, 9, s), [1] * 9, orthonormal(10, 9, s)) for s in (1, 2))
    ):
        assert row.shared == 0


def test_fewer_than_two_adapters() -> None:
    update = planted(orthonormal(9, 2), [2, 1], orthonormal(8, 2))
    zero = Factors(torch.zeros(0, 8).double(), torch.zeros(9, 0).double())
    for updates, directions in (((update,), 2), ((update, zero), 2), ((zero, zero), 0)):
        for row in sides(*updates):
            assert (row.directions, row.shared) == (directions, 0)
            assert (row.largest, row.chance, row.energy) == (None, None, None)
