"""All of it: from conversations and a base to an adapter's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustmerge.collect.load import load_base
from robustmerge.errors import MergeError
from robustmerge.files import check_target, expand_user

from .batches import OrderedExamples
from .checkpoints import CheckpointMarker, beside
from .conversations import Source, TrainingSet
from .expert import with_lora
from .fitting import ExpertTrainer, arguments
from .model import encoder_for, pad_token
from .place import DeviceConfig
from .progress import ProgressReporter, Told, silent
from .recipe import TrainingRecipe
from .record import card_of, record_of, settings_of
from .session import HOLDS, begun_at, failures, finish, quiet


def train(
    base: str,
    sources: Sequence[Source],
    output: str | Path,
    *,
    task: str,
    recipe: TrainingRecipe | None = None,
    place: DeviceConfig | None = None,
    restart: bool = False,
    force: bool = False,
    told: Told = silent,
) -> dict[str, Any]:
    """Train an adapter on the conversations of one task, or of several together.

    Stopped, it goes on from its last checkpoint when it is called again. Under `accelerate launch`
    every process calls it.

    Args:
        base: The base model, a folder or Hub id.
        sources: The conversations of each task.
        output: The folder to write; it appears whole or not at all.
        task: What the adapter is trained on, in a word; A's that are independent depend on it.
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
    recipe, place, target = recipe or TrainingRecipe(), place or DeviceConfig(), expand_user(output)
    home = expand_user(base)
    check_target(target, [home] if home.is_dir() else [], force=force, holds=HOLDS)
    lessons = TrainingSet.read(sources)
    rows = recipe.rows(lessons.counts)
    _check_steps(recipe, len(rows))
    _check_mixture(lessons, place)
    with quiet(), failures():
        args = arguments(recipe, place, beside(target), len(rows), texts=lessons.texts > 0)
        encoder = encoder_for(str(home), recipe)
        settings = settings_of(str(home), task, recipe, place, encoder, lessons)
        begun = begun_at(target, settings, args, restart=restart)
        expert = with_lora(load_base(str(home), place.computes_in(recipe.dtype)), recipe, task)
        record = record_of(settings, expert, recipe, len(rows))
        portion = args.per_device_train_batch_size * place.processes
        examples = OrderedExamples(lessons.conversations, rows, portion, encoder)
        trainer = ExpertTrainer(
            expert,
            recipe,
            args,
            examples,
            pad_token(encoder),
            [CheckpointMarker(), ProgressReporter(told)],
        )
        finish(trainer, begun, target, record, card_of(record), force=force)
    return record


def _check_steps(recipe: TrainingRecipe, rows: int) -> None:
    """Check that there are steps beyond the warm-up, which begins at a rate of zero.

    Raises:
        MergeError: There are none.
    """
    steps, warm = recipe.steps(rows), recipe.warmup_steps(rows)
    if warm >= steps:
        count = "one step" if steps == 1 else f"{steps} steps"
        raise MergeError(
            f"{rows} conversations in batches of {recipe.batch} come to {count}, and the "
            f"warm-up from a rate of zero takes {warm}",
            where="--batch, --warmup",
            hint="a smaller --batch, more --epochs, or --warmup 0",
        )


def _check_mixture(lessons: TrainingSet, place: DeviceConfig) -> None:
    """Check that all processes run the same layers, where the model is divided among them.

    Raises:
        MergeError: Some conversations have a picture and some have none.
    """
    total = len(lessons.conversations)
    if place.sharded and 0 < lessons.texts < total:
        raise MergeError(
            f"{lessons.texts} of {total} conversations have no picture, and FSDP or DeepSpeed's "
            "stage 3 wait forever for a process whose portion has none",
            where=next(one.where for one in lessons.conversations if one.image is None),
            hint="train with the whole model on every device, or take these records out",
        )
