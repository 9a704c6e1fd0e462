"""Updates in few coordinates have the inner products and spectra of the full updates."""

from __future__ import annotations

import torch
from hypothesis import given as cases, strategies as st

from factories.adapters import factors, stack
from factories.planted_updates import axes, orthonormal, planted
from robustmerge.diagnosis.core_updates import CoreSpace, CoreUpdate, share, subspace_overlap

sizes = st.integers(1, 12)
ranks = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@cases(sizes, sizes, ranks, st.integers(0, 15), st.integers(0, 99))
def test_inner_products_are_those_of_the_full_updates(
    d_out: int, d_in: int, ranks: list[int], rank: int, seed: int
) -> None:
    task_stack = stack(d_out, d_in, ranks, seed=seed, dtype=torch.float64)
    merged = factors(d_out, d_in, rank, seed + 7000, torch.float64)
    tasks, merged_core = CoreSpace.of(task_stack.factors).with_merged(merged)
    core = torch.stack([x.delta.flatten() for x in (*tasks, merged_core)])
    full = torch.stack([f.dense().flatten() for f in (*task_stack.factors, merged)])
    torch.testing.assert_close(core @ core.T, full @ full.T, atol=1e-9, rtol=1e-9)
    for x, f in zip((*tasks, merged_core), (*task_stack.factors, merged), strict=True):
        S = torch.linalg.svdvals(f.dense())
        S = S[1e-7 * S.max() < S] if x.rank else S[:0]
        torch.testing.assert_close(x.svd.S, S, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(x.energy, float(S.square().sum()), atol=1e-9, rtol=1e-9)
        rebuilt = x.svd.U @ torch.diag(x.svd.S) @ x.svd.Vh
        torch.testing.assert_close(rebuilt, x.delta, atol=1e-9, rtol=1e-9)


def test_a_merge_within_the_span_has_nothing_outside() -> None:
    task_stack = stack(30, 20, (3, 3), dtype=torch.float64)
    tasks, merged = CoreSpace.of(task_stack.factors).with_merged(task_stack.factors[1])
    torch.testing.assert_close(merged.delta, tasks[1].delta, atol=1e-12, rtol=0)


def test_the_part_of_a_merge_outside_of_the_span_keeps_its_norm() -> None:
    task = planted(axes(5, 0), [1], axes(4, 0))
    merged = planted(axes(5, 0, 3), [2, 3], axes(4, 0, 2))
    (task_core,), merged_core = CoreSpace.of([task]).with_merged(merged)
    assert merged_core.svd.S.tolist() == [3, 2]
    assert abs(float((task_core.delta * merged_core.delta).sum())) == 2


def test_joint_spaces_have_the_directions_that_there_are() -> None:
    first = planted(axes(9, 0, 1), [2, 1], axes(8, 0, 1))
    second = planted(axes(9, 1, 2), [2, 1], axes(8, 0, 1))
    space = CoreSpace.of([first, second])
    assert space.outputs.shape[1] == 3
    assert space.inputs.shape[1] == 2


def test_overlap_of_planted_spaces() -> None:
    X = orthonormal(20, 6)
    assert subspace_overlap(X[:, :3], X[:, 3:]) is not None
    torch.testing.assert_close(subspace_overlap(X[:, :3], X[:, 3:]), 0.0, atol=1e-12, rtol=0)
    torch.testing.assert_close(subspace_overlap(X[:, :3], X[:, 1:4]), 2 / 3)
    torch.testing.assert_close(subspace_overlap(X[:, :2], X), 1.0)
    angle = torch.tensor(0.3).double()
    tilted = angle.cos() * X[:, :2] + angle.sin() * X[:, 2:4]
    torch.testing.assert_close(subspace_overlap(X[:, :2], tilted), float(angle.cos() ** 2))
    assert subspace_overlap(X[:, :0], X) is None


def test_a_share_of_nothing_is_undefined() -> None:
    assert share(0.0, 0.0) is None
    assert share(1.0, 4.0) == 0.25


def test_directions_that_are_rounding_error_do_not_count() -> None:
    update = planted(orthonormal(9, 3), [1, 1e-3, 1e-9], orthonormal(8, 3))
    assert CoreUpdate(update).rank == 2
    assert CoreUpdate(update.pad(6)).rank == 2
