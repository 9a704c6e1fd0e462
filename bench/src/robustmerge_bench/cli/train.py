"""`robustmerge bench train` and `train-clip`: experts by the paper's recipes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from robustmerge.cli.optional import needing
from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import MergeError

from ..paper.training.clip.recipe import ClipRecipe
from ..paper.training.device import ClipDeviceConfig, DeviceConfig
from ..paper.training.recipe import TrainingRecipe
from .screen import duration, open_screen

if TYPE_CHECKING:
    from ..paper.training.conversations import Source
    from ..paper.training.progress import TrainingProgress

Record = Mapping[str, Any]
FLAT = Parameter(name="*")  # fields of a dataclass as options without a prefix


@dataclass(frozen=True)
class TrainingOutput:
    """What becomes of earlier work, and how the result is printed.

    Attributes:
        restart: Forget a training that was begun in this folder.
        force: Replace an adapter that is already there.
        json: Print the record as JSON.
    """

    restart: Annotated[bool, Parameter(negative="")] = False
    force: Annotated[bool, Parameter(negative="")] = False
    json: Annotated[bool, Parameter(negative="")] = False


_OUTPUT = TrainingOutput()


def train(
    *,
    base: str,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    task: str | None = None,
    data: Path | None = None,
    conversations: Path | None = None,
    images: Path | None = None,
    recipe: Annotated[TrainingRecipe, FLAT] = TrainingRecipe(),  # noqa: B008  # frozen
    config: Annotated[DeviceConfig, FLAT] = DeviceConfig(),  # noqa: B008  # frozen
    handling: Annotated[TrainingOutput, FLAT] = _OUTPUT,
) -> int:
    """Train an expert by the paper's recipe: a LoRA on the language model, the projector fully.

    On one GPU or the CPU as it is; on several, and with DeepSpeed or FSDP, as `accelerate launch
    -m robustmerge bench train …`. Stopped or killed, the same command continues from the last
    checkpoint.

    Args:
        base: The base model, a folder or Hub id.
        output: Folder to write. It appears whole or not at all.
        task: A task of the benchmark such as scienceqa, several as vqav2,rec in one adapter, or
            joint for the eight seen tasks. With --conversations, any name.
        data: The folder that holds the data of all tasks.
        conversations: Instead of a task's, any file of conversations as LLaVA keeps them: id,
            image, conversations: [{from: human or gpt, value}].
        images: Folder that image paths in that file start from; the file's own folder by default.
        recipe: What decides the result.
        config: Where and how it is computed.
        handling: What becomes of earlier work, and how the result is printed.
    """
    with needing("training", "robustmerge-bench"):
        from ..paper.training.train import train as run
    name, sources = _sources(task, data, conversations, images)
    work = partial(run, base, sources, output, task=name, recipe=recipe)

    def show(record: Record) -> None:
        data = [LabeledRow("data", f"{d['task']}: {d['records']} records") for d in record["data"]]
        recipe, sizes = record["recipe"], record["parameters"]
        _print(
            record,
            data,
            f"{record['conversations_seen']} in {record['steps']} steps",
            LabeledRow(
                "lora", f"rank {recipe['rank']}, A {recipe['init']}, {sizes['lora']:,} parameters"
            ),
            LabeledRow("projector", f"{recipe['projector']}, {sizes['projector']:,} parameters"),
            output=output,
        )
        print(f"\nnext: robustmerge check {output} --base {record['base']}")

    return _watch(work, show, config, output, handling)


def train_clip(
    *,
    base: str,
    task: str,
    data: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    recipe: Annotated[ClipRecipe, FLAT] = ClipRecipe(),  # noqa: B008  # frozen
    config: Annotated[ClipDeviceConfig, FLAT] = ClipDeviceConfig(),  # noqa: B008  # frozen
    handling: Annotated[TrainingOutput, FLAT] = _OUTPUT,
) -> int:
    """Train an expert of CLIP on a vision task: a LoRA on its vision encoder.

    The text encoder is frozen, and so is the head that it makes of sentences about the classes. On
    several GPUs as `accelerate launch -m robustmerge bench train-clip …`. Stopped or killed, the
    same command continues from the last checkpoint.

    Args:
        base: A CLIP model, folder or Hub id, such as openai/clip-vit-base-patch32.
        task: cars, mnist, sun397, gtsrb, resisc45, dtd, eurosat or svhn; several as mnist,svhn in
            one adapter, or vision for all eight.
        data: The folder that holds the data of all tasks: ROOT/Cars/train/CLASS/*.jpg, or
            ROOT/Cars/train.json. Cars/classes.json may map folders to names of classes.
        output: Folder to write. It appears whole or not at all.
        recipe: What decides the result.
        config: Where and how it is computed.
        handling: What becomes of earlier work, and how the result is printed.
    """
    with needing("training", "robustmerge-bench"):
        from ..paper.tasks import select_tasks
        from ..paper.training.clip.train import train as run
    work = partial(run, base, select_tasks(task), data, output, recipe=recipe)

    def show(record: Record) -> None:
        files = [
            LabeledRow("data", f"{d['task']}: {d['pictures']:,} images of {d['classes']} classes")
            for d in record["data"]
        ]
        recipe = record["recipe"]
        lora = (
            f"rank {recipe['rank']} on {recipe['targets']}, A {recipe['init']}, "
            f"{record['parameters']['lora']:,} parameters"
        )
        seen = f"{record['pictures_seen']:,} in {record['steps']:,} steps"
        _print(record, files, seen, LabeledRow("lora", lora), output=output)
        names = record["task"].replace("+", ",")
        print(f"\nnext: robustmerge bench run --base {record['base']} --adapter {output} \\")
        print(f"        --tasks {names} --data {data} -o results/{output.name}")

    return _watch(work, show, config, output, handling)


def _sources(
    task: str | None, data: Path | None, conversations: Path | None, images: Path | None
) -> tuple[str, Sequence[Source]]:
    """Return the training data's name and files."""
    from ..paper.training.sources import of_file, of_tasks

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
            hint="images of a task are looked for under --data",
        )
    return of_tasks(data, task)


def _watch(
    work: Callable[..., Record],
    show: Callable[[Record], None],
    config: DeviceConfig,
    output: Path,
    handling: TrainingOutput,
) -> int:
    """Train with a line on stderr now and then, print the record, and return the exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise forks warn about it
    screen = open_screen()
    if config.is_main:
        _note_idle_gpus(screen, config)
    try:
        record = work(
            device=config,
            restart=handling.restart,
            force=handling.force,
            report=lambda step: screen.print(_line(step), markup=False),
        )
    except KeyboardInterrupt:
        screen.print("interrupted; the same command goes on from the last checkpoint")
        return 130
    if config.is_main and handling.json:
        print(json.dumps({"output_folder": str(output), **record}, indent=2))
    elif config.is_main:
        show(record)
    return 0


def _print(
    record: Record, data: Sequence[LabeledRow], seen: str, *parts: LabeledRow, output: Path
) -> None:
    losses = record["loss"]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            LabeledRow("task", record["task"]),
            *data,
            LabeledRow("seen", seen),
            *parts,
            LabeledRow("loss", f"{losses[0][1]:.3f} at first, {losses[-1][1]:.3f} at last"),
            LabeledRow("written to", str(output)),
        ],
    )


def _note_idle_gpus(screen: Console, config: DeviceConfig) -> None:
    """Print a note where only one of several GPUs is used."""
    import torch

    count = torch.cuda.device_count()
    if config.on_gpu and config.processes == 1 and count > 1:
        screen.print(
            f"note: one of {count} GPUs is used; accelerate launch --num_processes {count} -m "
            "robustmerge bench train … uses them all",
            markup=False,
        )


def _line(step: TrainingProgress) -> str:
    left = f", {duration(step.left)} left" if step.done < step.todo else ""
    return f"step {step.done} of {step.todo}: loss {step.loss:.3f}, rate {step.rate:.2g}{left}"
