"""What every training goes through, whatever is trained: from a last checkpoint to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
import transformers
from transformers import TrainingArguments

from robustmerge.errors import MergeError, first_line

from .checkpoints import beside, settle
from .fitting import OrderedTrainer
from .progress import losses
from .record import FILE, write_adapter

HOLDS = ("a trained adapter", FILE)


def begun_at(
    target: Path, settings: Mapping[str, Any], args: TrainingArguments, *, restart: bool
) -> Path | None:
    """The checkpoint where an earlier training of this folder stopped, if there is one.

    Args:
        target: The folder that is to be written.
        settings: Everything that decides the result, as JSON has it.
        args: What the Trainer is told; the main process looks before the others.
        restart: Forget an earlier training.

    Raises:
        MergeError: What was begun here has other settings.
    """
    with args.main_process_first(local=False):
        again = restart and args.process_index == 0
        return settle(beside(target), settings, restart=again)


def finish(
    trainer: OrderedTrainer,
    begun: Path | None,
    target: Path,
    record: dict[str, Any],
    card: str,
    *,
    force: bool,
) -> None:
    """Train, write the adapter's folder, and remove the checkpoints; every process takes part.

    Args:
        trainer: What trains.
        begun: The checkpoint to go on from.
        target: The folder to write.
        record: What goes into training.json; the losses are added.
        card: The model card.
        force: Replace an adapter that is already there.

    Raises:
        MergeError: It cannot be written, or a loss is no number.
    """
    trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    record["loss"] = losses(trainer.state)
    write_adapter(trainer, target, record, card, force=force)
    if trainer.is_world_process_zero():
        shutil.rmtree(beside(target))


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
