"""What is said of samples: stray prompts among those of other tasks."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.bases import adapt, lines, llama, text_only
from robustmerge import relay
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


def test_of_an_adapter_that_does_what_the_base_does_nothing_can_be_left(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    adapt(text_only(), {"one": {"r": 2}, "zero": {"r": 2}}, tmp_path)
    weights = tmp_path / "zero/adapter_model.safetensors"
    zeros = {n: t * 0 if "lora_B" in n else t for n, t in load_file(weights).items()}
    save_file(zeros, weights)
    for first, name in ((5, "one"), (20, "zero")):
        rows = [{"text": f"w{first + k} w{first + 9 + k}"} for k in range(10)]
        lines(tmp_path / f"{name}.jsonl", rows)
    adapters = [tmp_path / name for name in ("one", "zero")]
    samples = [tmp_path / f"{name}.jsonl" for name in ("one", "zero")]
    report = relay(adapters, tmp_path / "out", tmp_path / "base", samples, longest=3)
    one, zero = report.facts.record["tasks"]
    assert one["left"] is not None
    assert zero["left"] is None
