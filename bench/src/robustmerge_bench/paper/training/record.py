"""What a training has to say of itself, and the folder that it leaves."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import accelerate
import peft
import torch
import transformers
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from robustmerge import __version__
from robustmerge.adapter.config import FILE as CONFIG
from robustmerge.files import read_json, whole_folder, write_json

from .conversations import TrainingSet
from .encoding import ConversationEncoder
from .expert import LORA
from .fitting import OrderedTrainer
from .place import DeviceConfig
from .recipe import TrainingRecipe

FILE = "training.json"
FORMAT = 1


def settings_of(
    base: str,
    task: str,
    recipe: TrainingRecipe,
    place: DeviceConfig,
    encoder: ConversationEncoder,
    lessons: TrainingSet,
) -> dict[str, Any]:
    """Everything that decides the result, as JSON has it."""
    settings = {
        "task": task,
        "base": base,
        "recipe": {
            **asdict(recipe),
            "alpha": recipe.alpha,
            # As they turned out, where the recipe leaves them to the model or the device.
            "prompt": "vicuna" if encoder.as_llava else "chat-template",
            "framing": "as-is" if encoder.mean is None else "pad",
            "max_length": encoder.max_length,
            "dtype": str(place.computes_in(recipe.dtype)).removeprefix("torch."),
        },
        "data": list(lessons.files),
        "processes": place.processes,
        "device_batch": place.portion(recipe.batch),
    }
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=dict))
    return plain


def record_of(
    settings: Mapping[str, Any], expert: PeftModel, recipe: TrainingRecipe, rows: int
) -> dict[str, Any]:
    """The record of a training, before it begins.

    `start_sha256` is of every A as it starts: what two adapters have in common if they start from
    the same.
    """
    trained = [(name, p.numel()) for name, p in expert.named_parameters() if p.requires_grad]
    lora = sum(count for name, count in trained if LORA in name)
    return {
        "format": FORMAT,
        "robustmerge": __version__,
        **settings,
        "conversations_seen": rows,
        "steps": recipe.steps(rows),
        "parameters": {"lora": lora, "projector": sum(count for _, count in trained) - lora},
        "start_sha256": start_hash(expert),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What a training depends on beside its settings."""
    libraries = (torch, transformers, peft, accelerate)
    return {
        "python": platform.python_version(),
        **{library.__name__: library.__version__ for library in libraries},
    }


def write_adapter(
    trainer: OrderedTrainer, target: Path, record: Mapping[str, Any], card: str, *, force: bool
) -> None:
    """Write the adapter's folder whole or not at all; every process takes part.

    Args:
        trainer: What trained it.
        target: The folder.
        record: What goes into training.json.
        card: The model card.
        force: Replace an adapter that is already there.

    Raises:
        MergeError: It cannot be written.
    """
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is not None:  # otherwise the parts of each process would be saved by themselves
        plugin.set_state_dict_type("FULL_STATE_DICT")
    main = trainer.is_world_process_zero()
    with whole_folder(target, force=force) if main else nullcontext(target) as folder:
        trainer.save_model(str(folder))
        if main:
            (folder / "training_args.bin").unlink(missing_ok=True)
            (folder / "README.md").write_text(card, encoding="utf-8")
            write_json(folder / FILE, record)
            settings = read_json(folder / CONFIG)
            if isinstance(settings["target_modules"], list):
                # PEFT keeps a set, whose order is another in every process.
                settings["target_modules"].sort()
                write_json(folder / CONFIG, settings)


def start_hash(expert: PeftModel) -> str:
    """A hash of every A as it is."""
    digest = hashlib.sha256()
    for _, layer in sorted(expert.named_modules()):
        if isinstance(layer, LoraLayer):
            digest.update(layer.lora_A["default"].weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def card_of(record: Mapping[str, Any]) -> str:
    """A model card: what it is and how it came to be."""
    recipe, data = record["recipe"], record["data"]
    return f"""---
base_model: {json.dumps(record["base"], ensure_ascii=False)}
library_name: peft
tags: [lora, robustmerge]
---

# {record["task"]}

A LoRA of rank {recipe["rank"]} on all linear layers of the language model of {record["base"]}; the
projector is {recipe["projector"]}. Trained on {record["conversations_seen"]} conversations of
{", ".join(one["task"] for one in data)} in {record["steps"]} steps of {recipe["batch"]}, learning
rate {recipe["learning_rate"]:g} (projector {recipe["projector_rate"]:g}), format
{recipe["prompt"]}, seed {recipe["seed"]}, A {recipe["init"]}. All settings are in {FILE}.
"""
