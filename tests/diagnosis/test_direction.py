"""Overlap of scaled, rotated, permuted, truncated and repeated directions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import factors
from factories.planted_updates import change_coordinates, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace
from robustmerge.diagnosis.direction import Curve, Direction, follow_directions, match_directions
from robustmerge.factors import Factors

S = [8.0, 4.0, 2.0, 1.0]
U, V = orthonormal(40, 8, 1), orthonormal(30, 8, 2)
TASK = change_coordinates(planted(U[:, :4], S, V[:, :4]), 3)
SIMILAR = ("left", "right", "both", "left_matched", "right_matched", "both_matched", "answer")


def overlaps(task: Factors, merged: Factors) -> tuple[list[Direction], list[Curve]]:
    (core,), merged_core = CoreSpace.of([task]).with_merged(merged)
    rows = list(follow_directions("m", "a", "out", core, merged_core, match_directions))
    assert all((r.module, r.adapter, r.merged) == ("m", "a", "out") for r in rows)
    parts = [row for row in rows if isinstance(row, Direction)]
    return parts, [row for row in rows if isinstance(row, Curve)]


@pytest.mark.parametrize("by", [1.0, 0.25, 3.0])
def test_a_scaled_merge_keeps_all_directions(by: float) -> None:
    parts, curves = overlaps(TASK, change_coordinates(TASK, 8).scaled(by))
    assert [row.part for row in parts] == ["largest", "rest"]
    assert [row.index for row in curves] == [1, 2, 3, 4]
    for row in (*parts, *curves):
        for name in SIMILAR:
            assert getattr(row, name) == pytest.approx(1), name
        assert (row.ratio, row.ratio_matched, row.gain) == pytest.approx((by, by, by))
    assert [row.repeated for row in parts] == [False, False]
    assert [row.weight for row in parts] == pytest.approx([64, 21])


def test_the_opposite_has_the_lines_but_not_the_update() -> None:
    for row in overlaps(TASK, TASK.scaled(-1.0))[0]:
        assert (row.left, row.right, row.both, row.gain, row.answer) == pytest.approx(
            (1, 1, -1, -1, -1)
        )


def test_rotated_tails() -> None:
    """Keep the largest direction; rotate the others' outputs by 60 degrees and scale them."""
    angle = math.pi / 3
    rotated = math.cos(angle) * U[:, 1:4] + math.sin(angle) * U[:, 5:8]
    merged = planted(torch.cat([U[:, :1], rotated], dim=1), [8, 7, 4, 2], V[:, :4])
    (largest, rest), curves = overlaps(TASK, merged)
    assert largest.both == pytest.approx(1)
    assert rest.left == pytest.approx(0.5)
    assert rest.right == pytest.approx(1)
    assert (rest.both, rest.both_matched, rest.answer) == pytest.approx((0.5, 0.5, 0.5))
    assert rest.ratio == pytest.approx((7 / 4 + 2 + 2) / 3)
    assert rest.gain == pytest.approx((7 / 4 + 2 + 2) / 6)
    assert [row.ratio for row in curves] == pytest.approx([1, 7 / 4, 2, 2])


def test_only_matching_detects_permuted_directions() -> None:
    order = [1, 0, 3, 2]
    merged = planted(U[:, order], S, V[:, order])
    for row in overlaps(TASK, merged)[1]:
        assert (row.left, row.right, row.both) == pytest.approx((0, 0, 0), abs=1e-9)
        assert (row.left_matched, row.right_matched, row.both_matched) == pytest.approx((1, 1, 1))
        assert row.ratio == pytest.approx(1)
        assert row.answer == pytest.approx(1)
    ratios = [row.ratio_matched for row in overlaps(TASK, merged)[1]]
    assert ratios == pytest.approx([0.5, 2, 0.5, 2])


def test_the_sides_are_matched_separately() -> None:
    merged = planted(U[:, :4], S, V[:, [1, 0, 3, 2]])
    for row in overlaps(TASK, merged)[1]:
        assert (row.left, row.right, row.both) == pytest.approx((1, 0, 0), abs=1e-9)
        assert (row.left_matched, row.right_matched) == pytest.approx((1, 1))
        assert row.both_matched == pytest.approx(0, abs=1e-9)


def test_directions_without_partner_have_similarity_0() -> None:
    merged = planted(U[:, :2], S[:2], V[:, :2])
    (largest, rest), curves = overlaps(TASK, merged)
    assert largest.both_matched == pytest.approx(1)
    assert rest.left == pytest.approx(1 / 3)
    assert (rest.both_matched, rest.ratio, rest.ratio_matched) == pytest.approx(
        (1 / 3, 1 / 3, 1 / 3)
    )
    assert [row.answer for row in curves] == pytest.approx([1, 1, 0, 0], abs=1e-9)


def test_all_directions_of_a_merge_of_higher_rank_are_matched() -> None:
    merged = planted(
        torch.cat([U[:, 4:], U[:, :4]], 1), [16, 15, 14, 13, *S], torch.cat([V[:, 4:], V[:, :4]], 1)
    )
    for row in overlaps(TASK, merged)[0]:
        assert row.both == pytest.approx(0, abs=1e-9)
        assert (row.both_matched, row.gain, row.ratio_matched) == pytest.approx((1, 1, 1))


def test_repeated_singular_values_are_marked() -> None:
    flat = planted(U[:, :4], [3, 3, 3, 3], V[:, :4])
    parts, _ = overlaps(TASK, flat)
    assert [row.repeated for row in parts] == [True, True]
    assert [row.gain for row in parts] == pytest.approx([3 / 8, (3 / 4 + 3 / 2 + 3) / 3])
    assert [row.answer for row in parts] == pytest.approx([1, 1])
    parts, _ = overlaps(planted(U[:, :3], [3, 2, 2 - 1e-6], V[:, :3]), TASK)
    assert [row.repeated for row in parts] == [False, True]


def test_zero_and_rank_one() -> None:
    zero = Factors(torch.zeros(0, 30).double(), torch.zeros(40, 0).double())
    assert overlaps(zero, TASK) == ([], [])
    for row in overlaps(TASK, zero)[0]:
        assert [getattr(row, name) for name in (*SIMILAR, "ratio", "gain")] == [0] * 9
    parts, _ = overlaps(planted(U[:, :1], [2], V[:, :1]), TASK)
    assert [row.part for row in parts] == ["largest"]


@cases(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_as_the_dense_definitions(rank: int, merged: int, seed: int) -> None:
    first, second = (factors(9, 8, r, seed + 77 * r, torch.float64) for r in (rank, merged))
    _, curves = overlaps(first, second)
    U, S, Vh = torch.linalg.svd(first.dense())
    W, T, Xh = torch.linalg.svd(second.dense())
    k, m = rank, merged
    both = (U[:, :k].T @ W[:, :m]) * (Vh[:k] @ Xh[:m].T)
    if k <= m:
        best = max(
            sum(float(both[i, j]) for i, j in enumerate(p))
            for p in itertools.permutations(range(m), k)
        )
    else:
        best = max(
            sum(float(both[i, j]) for j, i in enumerate(p))
            for p in itertools.permutations(range(k), m)
        )
    assert sum(row.both_matched for row in curves) == pytest.approx(best)
    for i, row in enumerate(curves):
        if i < m:
            assert row.left == pytest.approx(abs(float(U[:, i] @ W[:, i])))
            assert row.right == pytest.approx(abs(float(Vh[i] @ Xh[i])))
            assert row.both == pytest.approx(float(both[i, i]))
            assert row.ratio == pytest.approx(float(T[i] / S[i]))
        answer = second.dense() @ Vh[i]
        assert row.gain == pytest.approx(float(U[:, i] @ answer / S[i]))
        assert row.answer == pytest.approx(float(U[:, i] @ answer / answer.norm()))
