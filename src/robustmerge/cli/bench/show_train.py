"""What `robustmerge bench train` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ...bench.paper.training.conversations import Source
from ...bench.paper.training.place import Place
from ...bench.paper.training.progress import Step
from ...bench.paper.training.recipe import Recipe
from ...bench.paper.training.sources import of_file, of_tasks
from ...bench.paper.training.train import train
from ...errors import MergeError
from ..rows import Row, print_rows


def sources(
    task: str | None, data: Path | None, conversations: Path | None, images: Path | None
) -> tuple[str, Sequence[Source]]:
    """What is trained on, by name and by its files.

    Raises:
        MergeError: It is not said, or said twice, or not there.
    """
    if conversations is not None:
        if data is not None:
            raise MergeError(
                "--data and --conversations are both given",
                where="--data, --conversations",
                hint="--task and --data for a task of the benchmark, --conversations for any file",
            )
        return of_file(conversations, images, task)
    if task is None or data is None:
        raise MergeError(
            "nothing to train on",
            where="--task, --data",
            hint="--task scienceqa --data ROOT, or --conversations FILE",
        )
    if images is not None:
        raise MergeError(
            "--images belongs to --conversations",
            where="--images",
            hint="pictures of a task are looked for under --data",
        )
    return of_tasks(data, task)


def run(
    base: str,
    output: Path,
    named: tuple[str, Sequence[Source]],
    recipe: Recipe,
    place: Place,
    *,
    restart: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Train, with a line on stderr now and then, print what came of it, return the exit code.

    Raises:
        MergeError: As `train`.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # which forks would complain about
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    task, found = named
    if place.is_main:
        note_idle_gpus(screen, place)
    try:
        record = train(
            base,
            found,
            output,
            task=task,
            recipe=recipe,
            place=place,
            restart=restart,
            force=force,
            told=lambda step: screen.print(line(step), markup=False),
        )
    except KeyboardInterrupt:
        screen.print("interrupted; the same command goes on from the last checkpoint")
        return 130
    if place.is_main:
        if as_json:
            print(json.dumps({"output_folder": str(output), **record}, indent=2))
        else:
            _print(record, output)
    return 0


def note_idle_gpus(screen: Console, place: Place) -> None:
    """Say so where only one of several GPUs is used."""
    if place.on_gpu and place.processes == 1 and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        screen.print(
            f"note: one of {count} GPUs is used; accelerate launch --num_processes {count} -m "
            "robustmerge bench train … uses them all",
            markup=False,
        )


def line(step: Step) -> str:
    """A line on how far a training is."""
    left = f", {_duration(step.left)} left" if step.done < step.todo else ""
    return f"step {step.done} of {step.todo}: loss {step.loss:.3f}, rate {step.rate:.2g}{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _print(record: Mapping[str, Any], output: Path) -> None:
    recipe, sizes = record["recipe"], record["parameters"]
    files = [Row("data", f"{d['task']}: {d['records']} records", "") for d in record["data"]]
    told = record["loss"]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            Row("task", record["task"]),
            *files,
            Row("seen", f"{record['conversations_seen']} in {record['steps']} steps"),
            Row("lora", f"rank {recipe['rank']}, A {recipe['init']}, {sizes['lora']:,} parameters"),
            Row("projector", f"{recipe['projector']}, {sizes['projector']:,} parameters"),
            Row("loss", f"{told[0][1]:.3f} at first, {told[-1][1]:.3f} at last"),
            Row("written to", str(output)),
        ],
    )
    print(f"\nnext: robustmerge check {output} --base {record['base']}")
