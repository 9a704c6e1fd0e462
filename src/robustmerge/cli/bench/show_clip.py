"""What `robustmerge bench train-clip` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ...bench.paper.clip.recipe import Recipe
from ...bench.paper.clip.train import train
from ...bench.paper.tasks import chosen
from ...bench.paper.training.place import Place
from ..rows import Row, print_rows
from .show_train import line, note_idle_gpus


def run(
    base: str,
    task: str,
    data: Path,
    output: Path,
    recipe: Recipe,
    place: Place,
    *,
    restart: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Train, with a line on stderr now and then, print what came of it, return the exit code.

    Raises:
        MergeError: As `train`, or there is no such task.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # which forks would complain about
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    tasks = chosen(task)
    if place.is_main:
        note_idle_gpus(screen, place)
    try:
        record = train(
            base,
            tasks,
            data,
            output,
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
            _print(record, output, data)
    return 0


def _print(record: Mapping[str, Any], output: Path, data: Path) -> None:
    recipe, told = record["recipe"], record["loss"]
    files = [
        Row("data", f"{one['task']}: {one['pictures']:,} pictures of {one['classes']} classes")
        for one in record["data"]
    ]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            Row("task", record["task"]),
            *files,
            Row("seen", f"{record['pictures_seen']:,} in {record['steps']:,} steps"),
            Row(
                "lora",
                f"rank {recipe['rank']} on {recipe['targets']}, A {recipe['init']}, "
                f"{record['parameters']['lora']:,} parameters",
            ),
            Row("loss", f"{told[0][1]:.3f} at first, {told[-1][1]:.3f} at last"),
            Row("written to", str(output)),
        ],
    )
    tasks = record["task"].replace("+", ",")
    print(f"\nnext: robustmerge bench run --base {record['base']} --adapter {output} \\")
    print(f"        --tasks {tasks} --data {data} -o results/{output.name}")
