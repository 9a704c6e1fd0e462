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
from accelerate import PartialState
from numpy.random import Generator
from peft import get_peft_model
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from ...mini.training.experts import JOINT, ExpertSettings, StartOfA, lora, save, seed_of_A
from ...mini.training.fit import TrainingSchedule, any_process, print_progress
from ...mini.training.train import TrainingJob
from ..tasks import SEEN, Pool, bind
from .dialog import Dialog
from .language import Examples, LanguageSettings, Trainable, train_language
from .tower import register_tower

BASE_NAME = "robustmerge-midi"


def expert_jobs(
    experts: Path, recipe: ExpertSettings, sets: Sequence[tuple[StartOfA, int]], *, joint: bool
) -> list[TrainingJob]:
    """Return the adapters of these sets; a joint one is in the first set of a seed."""
    first = {seed: init for init, seed in reversed(sets)}
    return [
        TrainingJob(experts / f"{init}-{seed}" / task, task, init, seed, recipe)
        for init, seed in sets
        for task in (*SEEN, *([JOINT] if joint and init == first[seed] else []))
    ]


def tasks_of(job: TrainingJob) -> tuple[str, ...]:
    """Return the tasks whose items an adapter is trained on."""
    return SEEN if job.task == JOINT else (job.task,)


def schedule_of(job: TrainingJob) -> TrainingSchedule:
    """Return the length and rates of an adapter's training."""
    return job.recipe.plan(len(tasks_of(job)))


def state_of(job: TrainingJob, states: Path) -> Path:
    """Return the file of an adapter's training, so that a stopped one can go on."""
    return states / f"{job.folder.parent.name}-{job.task}.pt"


def train_experts(
    base: Path,
    jobs: Sequence[TrainingJob],
    states: Path,
    pool: Pool,
    *,
    seconds: float = float("inf"),
    device: str = "cpu",
) -> int:
    """Train the adapters that are missing; return how many are trained.

    Args:
        base: The joined model.
        jobs: The adapters.
        states: Folder of the states of trainings that were stopped.
        pool: Pictures of the tasks.
        seconds: Time after which the work stops, to be continued.
        device: cpu or cuda.
    """
    end, done = time.monotonic() + seconds, 0
    for job in jobs:
        left = end - time.monotonic()
        if not job.done and any_process(left <= 0):
            continue
        done += job.done or train_expert(base, job, states, pool, left, device)
    return done


def train_expert(
    base: Path,
    job: TrainingJob,
    states: Path,
    pool: Pool,
    seconds: float = float("inf"),
    device: str = "cpu",
) -> bool:
    """Train an expert on a task, or on all of them, and save it; return whether it is finished."""
    recipe = job.recipe
    register_tower()
    model = LlavaForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    ).to(device)
    dialog = Dialog(AutoTokenizer.from_pretrained(base), model.config.image_token_index)
    tasks = bind(pool)
    items = [
        item
        for name in tasks_of(job)
        for item in tasks[name].items("train", recipe.items, job.seed)
    ]
    torch.manual_seed(seed_of_A(job.init, job.seed, job.task))
    trainable = Trainable.wrapping(get_peft_model(model, lora(recipe)))
    plan = schedule_of(job)
    settings = LanguageSettings(plan.steps, recipe.batch, plan.rate, recipe.rank, slow=plan.slow)

    def draw(rng: Generator, count: int) -> Examples:
        return [[items[i]] for i in rng.integers(len(items), size=count)]

    state = state_of(job, states)
    report = print_progress(state.stem, plan.steps)
    order = (job.seed, 3, zlib.crc32(job.task.encode()))
    step = train_language(
        trainable, dialog, draw, settings, state, report=report, seed=order, seconds=seconds
    )
    if step < plan.steps:
        return False
    if PartialState().is_main_process:
        assert trainable.wrapped is not None
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        save(trainable.wrapped, job.folder, BASE_NAME)
    return True
