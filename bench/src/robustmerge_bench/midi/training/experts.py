"""Experts of the joined model: a LoRA for each seen task by PEFT, and one for all together.

The recipe is that of the laptop benchmark: all linear layers of the language model, alpha twice the
rank, the projector fully trained at a tenth of the rate. Items of a step are drawn at random from
the task's training items, so that a training can go on at any step.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from numpy.random import Generator
from peft import get_peft_model
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from ...mini.training.experts import JOINT, ExpertSettings, StartOfA, lora, save, seed_of_A
from ...mini.training.fit import print_progress
from ..tasks import SEEN, Pool, bind
from .dialog import Dialog
from .language import Examples, LanguageSettings, Trainable, train_language
from .tower import register_tower

BASE_NAME = "robustmerge-midi"


def train_experts(
    base: Path,
    experts: Path,
    states: Path,
    pool: Pool,
    recipe: ExpertSettings,
    sets: Sequence[tuple[StartOfA, int]],
    *,
    joint: bool = True,
    seconds: float = float("inf"),
    device: str = "cpu",
) -> tuple[int, int]:
    """Train what is missing of these sets; return how many adapters are done, and of how many.

    Args:
        base: The joined model.
        experts: Folder of the sets.
        states: Folder of the states of trainings that were stopped.
        pool: Pictures of the tasks.
        recipe: How an expert is trained.
        sets: Starts of A and seeds.
        joint: Also one adapter on all tasks, in the first set of a seed.
        seconds: Time after which the work stops, to be continued.
        device: cpu or cuda.
    """
    first = {seed: init for init, seed in reversed(sets)}
    jobs = [
        (task, init, seed)
        for init, seed in sets
        for task in (*SEEN, *([JOINT] if joint and init == first[seed] else []))
    ]
    end, done = time.monotonic() + seconds, 0
    for task, init, seed in jobs:
        folder = experts / f"{init}-{seed}" / task
        if not (folder / "adapter_config.json").exists():
            left = end - time.monotonic()
            if left <= 0:
                continue
            folder.parent.mkdir(parents=True, exist_ok=True)
            state = states / f"{init}-{seed}-{task}.pt"
            job = (task, init, seed)
            if not train_expert(base, folder, state, pool, recipe, job, left, device):
                continue
        done += 1
    return done, len(jobs)


def train_expert(
    base: Path,
    folder: Path,
    state: Path,
    pool: Pool,
    recipe: ExpertSettings,
    job: tuple[str, StartOfA, int],
    seconds: float = float("inf"),
    device: str = "cpu",
) -> bool:
    """Train an expert on a task, or on all of them, and save it; return whether it is finished."""
    task, init, seed = job
    register_tower()
    model = LlavaForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    ).to(device)
    dialog = Dialog(AutoTokenizer.from_pretrained(base), model.config.image_token_index)
    tasks = bind(pool)
    names = SEEN if task == JOINT else (task,)
    items = [item for name in names for item in tasks[name].items("train", recipe.items, seed)]
    torch.manual_seed(seed_of_A(init, seed, task))
    trainable = Trainable.wrapping(get_peft_model(model, lora(recipe)))
    plan = recipe.plan(len(names))
    settings = LanguageSettings(plan.steps, recipe.batch, plan.rate, recipe.rank, slow=plan.slow)

    def draw(rng: Generator, count: int) -> Examples:
        return [[items[i]] for i in rng.integers(len(items), size=count)]

    report = print_progress(f"{folder.parent.name}/{folder.name}", plan.steps)
    order = (seed, 3, zlib.crc32(task.encode()))
    step = train_language(
        trainable, dialog, draw, settings, state, report=report, seed=order, seconds=seconds
    )
    if step < plan.steps:
        return False
    assert trainable.wrapped is not None
    save(trainable.wrapped, folder, BASE_NAME)
    return True
