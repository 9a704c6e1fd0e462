"""LoRA-LEGO against its worked example and clusters that are known."""

from __future__ import annotations

import torch

from robustmerge.factors import Factors, Stack
from robustmerge.methods.spectral.lora_lego import kmeans
from robustmerge.testing import MethodCase, random_stack

LEGO = MethodCase.of("lora-lego")


def test_worked_numbers() -> None:
    first = Factors(torch.tensor([[1.0, 0]]), torch.tensor([[2.0], [0]]))
    second = Factors(torch.tensor([[0.0, 1]]), torch.tensor([[0.0], [4]]))
    expected = torch.tensor([[1.591, 1.591], [3.182, 3.182]]).double()
    for normalize in (True, False):
        merged = LEGO.merge(Stack.of([first, second]), normalize=normalize)
        torch.testing.assert_close(merged, expected, atol=1e-3, rtol=0)


def test_clusters_that_are_far_apart_are_found_from_any_start() -> None:
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(12, 5, generator=g, dtype=torch.float64)
    points = torch.eye(5).double().repeat(4, 1)[:12] * 100 + noise
    for seed in range(5):
        result = kmeans(points, 5, torch.Generator().manual_seed(seed))
        same = result[:, None] == result
        at = torch.arange(12) % 5
        assert torch.equal(same, at[:, None] == at)


def test_every_unit_is_nearest_to_its_own_cluster() -> None:
    x = random_stack(8, 6, (40,)).factors[0].A[:, :3]
    for seed in range(3):
        result = kmeans(x, 5, torch.Generator().manual_seed(seed))
        centers = torch.stack([x[result == k].mean(0) for k in range(5)])
        assert torch.equal(torch.cdist(x, centers).argmin(1), result)


def test_units_that_adapters_share_are_one_direction_and_scaled() -> None:
    f = random_stack(12, 10, (3,)).factors[0]
    merged = LEGO.merge(Stack.of([f, f], [1.0, 3.0]))
    # Each cluster holds (a, b) and (a, 3 b); lengths are made good by the largest entry.
    expected = torch.zeros(12, 10).double()
    for a, b in zip(f.A, f.B.T, strict=True):
        most = (torch.cat([a, b]).abs().max() + torch.cat([a, 3 * b]).abs().max()) / 2
        factor = most / torch.cat([a, 2 * b]).abs().max()
        expected += factor**2 * 2**0.5 * torch.outer(2 * b, a)
    torch.testing.assert_close(merged, expected)


def test_the_rank_is_the_number_of_clusters() -> None:
    inputs = random_stack(30, 25, (4, 3, 4))
    for wanted, rank in ((0, 4), (2, 2), (99, 11)):
        assert int(torch.linalg.matrix_rank(LEGO.merge(inputs, rank=wanted))) == rank


def test_one_adapter_comes_through_and_padding_is_no_change() -> None:
    f = random_stack(12, 10, (3,)).factors[0]
    torch.testing.assert_close(LEGO.merge(Stack.of([f])), f.dense())
    inputs = random_stack(12, 10, (3, 2))
    padded = Stack.of([inputs.factors[0], inputs.factors[1].pad(3)])
    assert torch.equal(LEGO.merge(padded), LEGO.merge(inputs))


def test_normalizing_makes_both_halves_count() -> None:
    eye = torch.eye(4).double()
    # The A's fall in two groups, the much longer B's in two others.
    A, B = eye[[0, 0, 1, 1]], 100 * eye[:, [0, 1, 0, 1]] + 0.5 * eye[:, [2, 2, 3, 3]]
    tilted = A * torch.tensor([3.0, 3.0, -3.0, -3.0]).double()[:, None]
    stack = Stack.of([Factors(tilted, B)])
    by_B = LEGO.merge(stack, rank=2, normalize=False)
    assert float(by_B[:, 0] @ by_B[:, 1]) != 0
    assert not torch.allclose(by_B, LEGO.merge(stack, rank=2))


def test_units_that_cancel_out_leave_nothing() -> None:
    a, b = torch.tensor([[1.0, 2]]), torch.tensor([[3.0], [4]])
    merged = LEGO.merge(Stack.of([Factors(a, b), Factors(-a, -b)]))
    assert not merged.any()
