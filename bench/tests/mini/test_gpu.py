"""Answers of the laptop benchmark on a GPU are those of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import TASKS


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_answers_are_those_of_the_cpu(random_base: Path, device: str) -> None:
    items = [item for name in list(TASKS)[:3] for item in TASKS[name].items("test", 4)]
    expected = MiniModel.load(random_base, "cpu", torch.float32).answer(items)
    assert MiniModel.load(random_base, device, torch.float32).answer(items) == expected
