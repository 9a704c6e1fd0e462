"""An expert of CLIP: a LoRA on its vision encoder, learned under a head made of sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from robustmerge import __version__
from robustmerge.files import check_target, expand_user

from ...answering.clip.model import ClipModel
from ...answering.clip.templates import sentences
from ...tasks import PaperTask
from ..checkpoints import CheckpointMarker, beside
from ..fitting import OrderedTrainer
from ..place import DeviceConfig
from ..progress import ProgressReporter, Told, silent
from ..record import FILE, FORMAT, start_hash, versions
from ..session import HOLDS, begun_at, failures, finish, quiet
from ..start import start_A
from .fitting import ClassLoss, arguments, portion_of
from .lessons import ClassExamples, ClassImages, together
from .recipe import PATTERNS, ClipRecipe


def train(
    base: str,
    tasks: Sequence[PaperTask],
    data: Path,
    output: str | Path,
    *,
    recipe: ClipRecipe | None = None,
    place: DeviceConfig | None = None,
    restart: bool = False,
    force: bool = False,
    told: Told = silent,
) -> dict[str, Any]:
    """Train an adapter on the pictures of one task, or of several together.

    Stopped, it goes on from its last checkpoint when it is called again. Under `accelerate launch`
    every process calls it.

    Args:
        base: A CLIP model, folder or Hub id.
        tasks: What to learn; a picture's class is told from those of its own task.
        data: The folder that holds all tasks.
        output: The folder to write; it appears whole or not at all.
        recipe: How it is trained.
        place: Where.
        restart: Forget a training that was begun, and begin anew.
        force: Replace an adapter that is already there.
        told: Called with every step that is logged, in the main process.

    Returns:
        The record, as it is in training.json.

    Raises:
        MergeError: Something the user can mend; nothing was written but checkpoints.
    """
    recipe, place = recipe or ClipRecipe(), place or DeviceConfig(gradient_checkpointing=False)
    target, home = expand_user(output), expand_user(base)
    check_target(target, [home] if home.is_dir() else [], force=force, holds=HOLDS)
    lessons = ClassImages.read(tasks, expand_user(data))
    with quiet(), failures():
        args = arguments(recipe, place, beside(target), recipe.total(lessons.counts))
        settings = _settings(base, recipe, place, lessons)
        begun = begun_at(target, settings, args, restart=restart)
        clip = ClipModel.load(base, device=str(args.device), dtype=place.computes_in(recipe.dtype))
        loss = ClassLoss(_head(clip, lessons), lessons.owners, clip.scale.detach())
        expert = _with_lora(clip, recipe, settings["task"])
        record = _record(settings, expert, args.max_steps)
        examples = ClassExamples(lessons.lessons, recipe.rows(lessons.counts), clip)
        trainer = OrderedTrainer(
            model=expert,
            args=args,
            train_dataset=examples,
            data_collator=together,
            compute_loss_func=loss,
            callbacks=[CheckpointMarker(), ProgressReporter(told)],
        )
        finish(trainer, begun, target, record, _card(record), force=force)
    return record


def _head(clip: ClipModel, lessons: ClassImages) -> torch.Tensor:
    """The rows of all classes of all tasks: [classes, dim]."""
    pairs = [(t, n) for t, names in zip(lessons.tasks, lessons.classes, strict=True) for n in names]
    return clip.head([sentences(task, name) for task, name in pairs])


def _with_lora(clip: ClipModel, recipe: ClipRecipe, task: str) -> PeftModel:
    """Put an untrained LoRA in float32 on the vision encoder; the model is then called with pixels.

    The whole model is wrapped and not its vision encoder, so that names in the adapter are those
    that every version of transformers has for the whole model.
    """
    clip.model.forward = clip.model.get_image_features
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.rank,
        lora_dropout=recipe.dropout,
        target_modules=PATTERNS[recipe.targets],
    )
    expert: PeftModel = get_peft_model(clip.model, config)
    start_A(expert, recipe.init, recipe.seed, task)
    return expert


def _settings(
    base: str, recipe: ClipRecipe, place: DeviceConfig, lessons: ClassImages
) -> dict[str, Any]:
    """Everything that decides the result, as JSON has it."""
    settings = {
        "task": "+".join(lessons.tasks),
        "base": base,
        "recipe": {
            **asdict(recipe),
            "alpha": recipe.rank,
            "dtype": str(place.computes_in(recipe.dtype)).removeprefix("torch."),
        },
        "data": list(lessons.files),
        "processes": place.processes,
        "device_batch": portion_of(recipe, place),
    }
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=dict))
    return plain


def _record(settings: Mapping[str, Any], expert: PeftModel, steps: int) -> dict[str, Any]:
    """The record of a training, before it begins; `start_sha256` is of every A as it starts."""
    return {
        "format": FORMAT,
        "robustmerge": __version__,
        **settings,
        "pictures_seen": steps * settings["recipe"]["batch"],
        "steps": steps,
        "parameters": {"lora": sum(p.numel() for p in expert.parameters() if p.requires_grad)},
        "start_sha256": start_hash(expert),
        "versions": versions(),
    }


def _card(record: Mapping[str, Any]) -> str:
    """A model card: what it is and how it came to be."""
    recipe = record["recipe"]
    return f"""---
base_model: {json.dumps(record["base"], ensure_ascii=False)}
library_name: peft
tags: [lora, robustmerge, clip]
---

# {record["task"]}

A LoRA of rank {recipe["rank"]} on the vision encoder of {record["base"]} ({recipe["targets"]}),
trained under the head that the base's text encoder makes of class names. {record["pictures_seen"]}
pictures in {record["steps"]} steps of {recipe["batch"]}, learning rate
{recipe["learning_rate"]:g}, seed {recipe["seed"]}, A {recipe["init"]}. All settings are in {FILE}.
"""
