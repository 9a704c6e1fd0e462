"""What is said of samples: stray prompts among those of other tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from robustmerge.prompted.guards import strays


def tasks(count: int = 20, width: int = 64) -> list[Tensor]:
    """Three tasks whose prompts differ much in one direction that says nothing of the task."""
    drawn = torch.Generator().manual_seed(0)
    centers = torch.randn(3, width, generator=drawn)
    spread = torch.zeros(width)
    spread[0] = 40
    return [
        center
        + 0.5 * torch.randn(count, width, generator=drawn)
        + spread * torch.randn(count, 1, generator=drawn)
        for center in centers
    ]


def test_prompts_of_their_own_tasks_are_no_strays() -> None:
    assert not list(strays(tasks()))


def test_foreign_prompts_are_named_with_the_task_they_resemble() -> None:
    sets = tasks()
    sets[0][[3, 11]] = sets[2][[3, 11]] + 0.1
    sets[1][7] = sets[0][7] + 0.1
    assert list(strays(sets)) == [(0, 3, 2), (0, 11, 2), (1, 7, 0)]


def test_the_order_of_the_tasks_does_not_matter() -> None:
    sets = tasks()
    sets[0][3] = sets[2][3] + 0.1
    assert list(strays(sets[::-1])) == [(2, 3, 0)]


def test_rotations_and_shifts_do_not_matter() -> None:
    sets = tasks()
    sets[0][3] = sets[2][3] + 0.1
    Q = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))[0]
    assert list(strays([of @ Q + 5 for of in sets])) == [(0, 3, 2)]


def test_single_prompts_and_equal_ones() -> None:
    assert not list(strays([torch.ones(1, 4), torch.zeros(1, 4)]))
    assert not list(strays([torch.ones(3, 4), torch.zeros(3, 4)]))
    assert not list(strays([torch.randn(5, 4)]))


def test_a_prompt_is_compared_with_the_others_of_its_task() -> None:
    """0.6 is nearer to 1 than to 0; with itself in the mean of its task it would not be."""
    sets = [torch.tensor([[0.0], [0.6]]), torch.tensor([[1.0], [1.0]])]
    assert list(strays(sets)) == [(0, 1, 1)]
