"""A training as its command shows it: how far it is, and at last what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ..paper.training.place import DeviceConfig
from ..paper.training.progress import Told, TrainingProgress
from .duration import duration

Record = Mapping[str, Any]


def watch(
    training: Callable[[Told], Record],
    place: DeviceConfig,
    output: Path,
    print_record: Callable[[Record], None],
    *,
    as_json: bool,
) -> int:
    """Train, with a line on stderr now and then, print what came of it, return the exit code.

    Args:
        training: Trains, given whom to tell of its steps, and returns its record.
        place: Where it runs; one process of several prints.
        output: The folder that it writes.
        print_record: Prints the record for people.
        as_json: Print it as JSON instead.

    Raises:
        MergeError: As `training`.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # which forks would complain about
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    if place.is_main:
        _note_idle_gpus(screen, place)
    try:
        record = training(lambda step: screen.print(_line(step), markup=False))
    except KeyboardInterrupt:
        screen.print("interrupted; the same command goes on from the last checkpoint")
        return 130
    if place.is_main:
        if as_json:
            print(json.dumps({"output_folder": str(output), **record}, indent=2))
        else:
            print_record(record)
    return 0


def _note_idle_gpus(screen: Console, place: DeviceConfig) -> None:
    """Say so where only one of several GPUs is used."""
    if place.on_gpu and place.processes == 1 and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        screen.print(
            f"note: one of {count} GPUs is used; accelerate launch --num_processes {count} -m "
            "robustmerge bench train … uses them all",
            markup=False,
        )


def _line(step: TrainingProgress) -> str:
    """A line on how far a training is."""
    left = f", {duration(step.left)} left" if step.done < step.todo else ""
    return f"step {step.done} of {step.todo}: loss {step.loss:.3f}, rate {step.rate:.2g}{left}"
