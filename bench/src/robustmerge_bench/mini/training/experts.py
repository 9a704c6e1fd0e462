"""Stage three: a LoRA for each task by PEFT, and one for all tasks together.

The recipe is the paper's at a small scale: all linear layers of the language model, alpha twice the
rank, the vision tower frozen, the projector fully trained at a tenth of the rate, AdamW with a
warm-up and a cosine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.random import Generator
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from robustmerge.errors import writing

from ...item import Item
from ..tasks import SEEN, TASKS
from .dialog import PREFIX, answer_loss, collate, look
from .fit import TrainingSchedule, fit, print_progress
from .model import pixels

StartOfA = Literal["shared", "independent"]
JOINT = "joint"
BASE_NAME = "robustmerge-mini"

# "all-linear" would also adapt the vision tower and the projector.
LANGUAGE_MODEL = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"


@dataclass(frozen=True)
class ExpertSettings:
    """How an expert is trained.

    Attributes:
        items: Training items of a task.
        epochs: Times that each item is seen.
        batch: Items of a step.
        rate: Highest learning rate; the projector's is a tenth of it.
    """

    rank: int
    items: int = 2000
    epochs: int = 2
    batch: int = 32
    rate: float = 1e-3
    projector: bool = True

    def plan(self, tasks: int) -> TrainingSchedule:
        """Return the schedule for a number of tasks."""
        steps = tasks * self.items * self.epochs // self.batch
        return TrainingSchedule(steps, self.rate, muon=False, slow="multi_modal_projector")


def seed_of_A(init: StartOfA, seed: int, task: str) -> int:  # noqa: N802
    """Return the seed of A: the same for all tasks, or one for each."""
    return seed if init == "shared" else zlib.crc32(f"{task} {seed}".encode())


def train_expert(
    base: Path,
    folder: Path,
    task: str,
    init: StartOfA,
    seed: int,
    recipe: ExpertSettings,
    device: str = "cpu",
) -> None:
    """Train an expert on a task, or on all of them, and save it."""
    model = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    model.set_attn_implementation("eager")
    model.to(device)
    names = SEEN if task == JOINT else (task,)
    items = [item for name in names for item in TASKS[name].items("train", recipe.items, seed)]
    with torch.no_grad():
        features = encode_images(model, items)
    torch.manual_seed(seed_of_A(init, seed, task))
    expert = get_peft_model(model, lora(recipe))
    llava = cast("LlavaForConditionalGeneration", expert.base_model.model)
    plan = recipe.plan(len(names))
    length = longest_tokens(items)
    order = np.random.default_rng([seed, 3, zlib.crc32(task.encode())])
    rows = np.concatenate([order.permutation(len(items)) for _ in range(recipe.epochs)])
    batches = iter(rows[: plan.steps * recipe.batch].reshape(plan.steps, recipe.batch))

    def loss(rng: Generator) -> Tensor:
        chosen = next(batches)
        turns = [[(items[i].prompt, items[i].answer)] for i in chosen]
        batch = collate(turns, length).to(device)
        with torch.autocast(device, torch.bfloat16):
            return answer_loss(llava, batch, features[chosen])

    expert.train()
    report = print_progress(f"{folder.parent.name}/{folder.name}", plan.steps, every=plan.steps)
    fit(expert, loss, plan, seed=(seed, 3), report=report, device=device)
    save(expert, folder)


def lora(recipe: ExpertSettings) -> LoraConfig:
    """Return the settings of PEFT."""
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules=LANGUAGE_MODEL,
        modules_to_save=["multi_modal_projector"] if recipe.projector else None,
    )


def save(expert: PeftModel, folder: Path, base: str = BASE_NAME) -> None:
    """Write an adapter whole or not at all; its settings name the base without a path."""
    new = folder.with_name(f".{folder.name}.new")
    for settings in expert.peft_config.values():
        settings.base_model_name_or_path = base
    expert.save_pretrained(new, save_embedding_layers=False)  # "auto" asks the Hub for the base
    with writing(folder, hint="move what is in it elsewhere; the next run goes on"):
        with suppress(FileNotFoundError):
            folder.rmdir()  # refuses what is not empty
        new.rename(folder)


def encode_images(model: LlavaForConditionalGeneration, items: Sequence[Item]) -> Tensor:
    """Return the tower's features of the items' images: [n, 36, vision_width]."""
    parts = [items[start : start + 100] for start in range(0, len(items), 100)]
    return torch.cat(
        [look(model, pixels([item.image for item in part]).to(model.device)) for part in parts]
    )


def longest_tokens(items: Sequence[Item]) -> int:
    """Return the tokens of the longest item, to which all are padded: the CPU sees one shape."""
    return len(PREFIX) + 2 + max(len(f"{i.prompt} {i.answer}".split()) for i in items)
