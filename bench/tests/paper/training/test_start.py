"""Where A starts: shared by all tasks of a seed, or each task's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForImageTextToText

from robustmerge_bench.paper.training.expert import draw_A, with_lora
from robustmerge_bench.paper.training.recipe import TrainingRecipe

SHAPE = torch.Size([16, 400])


def started(base: Path, task: str, **settings: Any) -> dict[str, Tensor]:
    """The LoRA of a task before training."""
    model = AutoModelForImageTextToText.from_pretrained(base)
    expert: PeftModel = with_lora(model, TrainingRecipe(rank=4, **settings), task)
    return {name: p.detach() for name, p in expert.named_parameters() if "lora_" in name}


def test_all_tasks_of_a_seed_share_one_start(llava: Path) -> None:
    torch.manual_seed(1)
    one = started(llava, "vqa")
    torch.manual_seed(2)
    other = started(llava, "ocr")
    assert len(one) == 28
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(not weight.any() for name, weight in one.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("task", "settings"), [("ocr", {"init": "independent"}), ("vqa", {"seed": 1})]
)
def test_other_tasks_or_seeds_start_elsewhere(
    llava: Path, task: str, settings: dict[str, Any]
) -> None:
    one = started(llava, "vqa", **({"init": "independent"} if "init" in settings else {}))
    other = started(llava, task, **settings)
    firsts = [name for name in one if "lora_A" in name]
    assert not any(torch.equal(one[name], other[name]) for name in firsts)


def test_independent_starts_are_the_same_every_time(llava: Path) -> None:
    one, other = (started(llava, "vqa", init="independent") for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    shared = started(llava, "vqa")
    assert not any(torch.equal(one[name], shared[name]) for name in one if "lora_A" in name)


def test_no_two_modules_start_alike(llava: Path) -> None:
    firsts = [weight for name, weight in started(llava, "vqa").items() if "lora_A" in name]
    assert len({tuple(weight.flatten()[:8].tolist()) for weight in firsts}) == len(firsts) == 14


def test_entries_are_uniform_as_pefts_are() -> None:
    entries = draw_A("model.layers.0.q_proj", SHAPE, 0)
    reference = torch.empty(SHAPE)
    torch.manual_seed(0)
    torch.nn.init.kaiming_uniform_(reference, a=5**0.5)
    assert entries.abs().max() <= 400**-0.5
    for measure in (lambda t: t.abs().max(), torch.std):
        assert float(measure(entries)) == pytest.approx(float(measure(reference)), rel=0.02)
    assert abs(entries.mean()) < 0.05 * 400**-0.5


def test_a_start_is_fixed_for_good() -> None:
    """Adapters that are trained years apart with one seed must still share it."""
    result = draw_A("model.language_model.layers.0.self_attn.q_proj", torch.Size([2, 4]), 0)
    wanted = torch.tensor([-0.0815150, 0.2997203, 0.4192208, 0.1974671])
    torch.testing.assert_close(result[0], wanted, atol=1e-6, rtol=0)
