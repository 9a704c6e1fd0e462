"""What `robustmerge bench train` prints. Imports torch, so it is imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import MergeError

from ..paper.training.conversations import Source
from ..paper.training.place import DeviceConfig
from ..paper.training.recipe import TrainingRecipe
from ..paper.training.sources import of_file, of_tasks
from ..paper.training.train import train
from .watch import watch


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
    recipe: TrainingRecipe,
    place: DeviceConfig,
    *,
    restart: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Train, with a line on stderr now and then, print what came of it, return the exit code.

    Raises:
        MergeError: As `train`.
    """
    task, found = named
    return watch(
        lambda told: train(
            base,
            found,
            output,
            task=task,
            recipe=recipe,
            place=place,
            restart=restart,
            force=force,
            told=told,
        ),
        place,
        output,
        lambda record: _print(record, output),
        as_json=as_json,
    )


def _print(record: Mapping[str, Any], output: Path) -> None:
    recipe, sizes = record["recipe"], record["parameters"]
    files = [LabeledRow("data", f"{d['task']}: {d['records']} records", "") for d in record["data"]]
    told = record["loss"]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            LabeledRow("task", record["task"]),
            *files,
            LabeledRow("seen", f"{record['conversations_seen']} in {record['steps']} steps"),
            LabeledRow(
                "lora", f"rank {recipe['rank']}, A {recipe['init']}, {sizes['lora']:,} parameters"
            ),
            LabeledRow("projector", f"{recipe['projector']}, {sizes['projector']:,} parameters"),
            LabeledRow("loss", f"{told[0][1]:.3f} at first, {told[-1][1]:.3f} at last"),
            LabeledRow("written to", str(output)),
        ],
    )
    print(f"\nnext: robustmerge check {output} --base {record['base']}")
