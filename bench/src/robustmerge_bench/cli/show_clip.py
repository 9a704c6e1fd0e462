"""What `robustmerge bench train-clip` prints. Imports torch, so it is imported late."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from robustmerge.cli.rows import LabeledRow, print_rows

from ..paper.tasks import chosen
from ..paper.training.clip.recipe import ClipRecipe
from ..paper.training.clip.train import train
from ..paper.training.place import DeviceConfig
from .watch import watch


def run(
    base: str,
    task: str,
    data: Path,
    output: Path,
    recipe: ClipRecipe,
    place: DeviceConfig,
    *,
    restart: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Train, with a line on stderr now and then, print what came of it, return the exit code.

    Raises:
        MergeError: As `train`, or there is no such task.
    """
    tasks = chosen(task)
    return watch(
        lambda told: train(
            base,
            tasks,
            data,
            output,
            recipe=recipe,
            place=place,
            restart=restart,
            force=force,
            told=told,
        ),
        place,
        output,
        lambda record: _print(record, output, data),
        as_json=as_json,
    )


def _print(record: Mapping[str, Any], output: Path, data: Path) -> None:
    recipe, told = record["recipe"], record["loss"]
    files = [
        LabeledRow(
            "data", f"{one['task']}: {one['pictures']:,} pictures of {one['classes']} classes"
        )
        for one in record["data"]
    ]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            LabeledRow("task", record["task"]),
            *files,
            LabeledRow("seen", f"{record['pictures_seen']:,} in {record['steps']:,} steps"),
            LabeledRow(
                "lora",
                f"rank {recipe['rank']} on {recipe['targets']}, A {recipe['init']}, "
                f"{record['parameters']['lora']:,} parameters",
            ),
            LabeledRow("loss", f"{told[0][1]:.3f} at first, {told[-1][1]:.3f} at last"),
            LabeledRow("written to", str(output)),
        ],
    )
    tasks = record["task"].replace("+", ",")
    print(f"\nnext: robustmerge bench run --base {record['base']} --adapter {output} \\")
    print(f"        --tasks {tasks} --data {data} -o results/{output.name}")
