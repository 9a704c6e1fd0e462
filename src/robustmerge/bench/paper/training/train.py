"""All of it: from conversations and a base to an adapter's folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
import transformers

from ....adapter.source import at_home
from ....adapter.writer import check_target
from ....collect.load import load_base
from ....errors import MergeError, first_line
from .batches import Examples
from .checkpoints import Marker, beside, settle
from .conversations import Source, TrainingSet
from .expert import with_lora
from .fitting import ExpertTrainer, arguments
from .model import encoder_for, pad_token
from .place import Place
from .progress import Teller, Told, losses, silent
from .recipe import Recipe
from .record import FILE, card_of, record_of, settings_of, write_adapter

HOLDS = ("a trained adapter", FILE)


def train(
    base: str,
    sources: Sequence[Source],
    output: str | Path,
    *,
    task: str,
    recipe: Recipe | None = None,
    place: Place | None = None,
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
    recipe, place, target = recipe or Recipe(), place or Place(), at_home(output)
    home = at_home(base)
    check_target(target, [home] if home.is_dir() else [], force=force, holds=HOLDS)
    lessons = TrainingSet.read(sources)
    rows = recipe.rows(lessons.counts)
    _check_steps(recipe, len(rows))
    _check_mixture(lessons, place)
    with quiet(), failures():
        args = arguments(recipe, place, beside(target), len(rows), texts=lessons.texts > 0)
        encoder = encoder_for(str(home), recipe)
        settings = settings_of(str(home), task, recipe, place, encoder, lessons)
        with args.main_process_first(local=False):
            again = restart and args.process_index == 0
            begun = settle(beside(target), settings, restart=again)
        expert = with_lora(load_base(str(home), place.computes_in(recipe.dtype)), recipe, task)
        record = record_of(settings, expert, recipe, len(rows))
        portion = args.per_device_train_batch_size * place.processes
        examples = Examples(lessons.conversations, rows, portion, encoder)
        trainer = ExpertTrainer(
            expert, recipe, args, examples, pad_token(encoder), [Marker(), Teller(told)]
        )
        trainer.train(resume_from_checkpoint=str(begun) if begun else None)
        record["loss"] = losses(trainer.state)
        write_adapter(trainer, target, record, card_of(record), force=force)
        if trainer.is_world_process_zero():
            shutil.rmtree(beside(target))
    return record


def _check_steps(recipe: Recipe, rows: int) -> None:
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


def _check_mixture(lessons: TrainingSet, place: Place) -> None:
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


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore what the libraries tell each other, and their bars for files that are read."""
    theirs = transformers.logging
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    with catch_warnings():
        filterwarnings("ignore", category=FutureWarning)
        # PEFT asks the Hub whether the vocabulary has grown, which it never has here.
        filterwarnings("ignore", message="Could not find a config file")
        try:
            yield
        finally:
            theirs.set_verbosity(level)
            if bars:
                theirs.enable_progress_bar()


@contextmanager
def failures() -> Iterator[None]:
    """Turn failures of the libraries into errors that a user can mend."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise MergeError(
            f"the device is out of memory: {first_line(error)}",
            where="training",
            hint="a smaller --device-batch with the same --batch, or several devices; the same "
            "training comes of it, but for dropout",
        ) from None
    except MergeError as error:
        if "DataLoader worker" not in error.problem:
            raise
        # What a worker raises comes back as the text of its traceback.
        problem, _, rest = error.problem.rpartition(f"{MergeError.__name__}: ")[2].partition("\n")
        raise MergeError(problem, where=rest.replace("where:", "").strip()) from None
