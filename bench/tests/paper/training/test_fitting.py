"""The arguments of the Trainer, and the groups of the optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench_factories.trainer_arguments import recomputes
from factories.families import build
from robustmerge_bench.paper.training.conversations import Conversation, TrainingSet
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.expert import with_lora
from robustmerge_bench.paper.training.recipe import TrainingRecipe
from robustmerge_bench.paper.training.train import ConversationTraining
from robustmerge_bench.paper.training.trainer import arguments, two_rates


def arguments_of(
    folder: Path, recipe: TrainingRecipe, device: DeviceConfig, texts: bool = False
) -> Any:
    """The arguments for a thousand conversations, with or without one about no image."""
    image = None if texts else folder / "image.png"
    data = TrainingSet((Conversation("here", image, ()),), (1000,), ())
    training = ConversationTraining("base", "toy", recipe, device, data)
    return arguments(
        recipe,
        device,
        folder,
        len(training.rows),
        portion=training.portion,
        **training.trainer_arguments(),
    )


def test_the_recipe_is_passed_on(tmp_path: Path) -> None:
    args = arguments_of(tmp_path, TrainingRecipe(), DeviceConfig("cpu", save_every=7, workers=2))
    assert (args.learning_rate, args.weight_decay, args.max_grad_norm) == (2e-4, 0.0, 1.0)
    assert (str(args.lr_scheduler_type.value), args.warmup_steps) == ("cosine", 1)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (16, 8)
    assert (args.num_train_epochs, args.seed, args.bf16) == (1, 0, False)
    assert (args.save_steps, args.save_total_limit, args.dataloader_num_workers) == (7, 2, 2)
    assert (args.use_cpu, args.n_gpu) == (True, 0)
    assert recomputes(args)
    assert recomputes(args, "_kwargs") == {"use_reentrant": False}
    assert not args.ddp_find_unused_parameters


@pytest.mark.parametrize(
    ("recipe", "texts", "unused"),
    [
        (TrainingRecipe(), True, True),
        (TrainingRecipe(), False, False),
        (TrainingRecipe(projector="frozen"), True, False),
    ],
)
def test_the_projector_may_be_unused_by_texts(
    tmp_path: Path, recipe: TrainingRecipe, texts: bool, unused: bool
) -> None:
    args = arguments_of(tmp_path, recipe, DeviceConfig("cpu"), texts)
    assert args.ddp_find_unused_parameters == unused


def test_precision_and_checkpointing_are_options(tmp_path: Path) -> None:
    recipe = TrainingRecipe(dtype="bfloat16", batch=6)
    args = arguments_of(tmp_path, recipe, DeviceConfig("cpu", 2, gradient_checkpointing=False))
    assert args.bf16
    assert not recomputes(args)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (2, 3)


def test_two_rates_and_no_decay() -> None:
    expert = with_lora(build("llava"), TrainingRecipe(rank=2), "toy")
    lora, whole = two_rates(expert, 5e-5)
    optimizer = torch.optim.AdamW([lora, whole], lr=3e-4)
    assert [group["lr"] for group in optimizer.param_groups] == [3e-4, 5e-5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0]
    assert (len(lora["params"]), len(whole["params"])) == (28, 4)
    trained = [p for p in expert.parameters() if p.requires_grad]
    assert {id(p) for p in lora["params"] + whole["params"]} == {id(p) for p in trained}
    frozen = with_lora(build("llava"), TrainingRecipe(rank=2, projector="frozen"), "toy")
    assert len(two_rates(frozen, 5e-5)) == 1
