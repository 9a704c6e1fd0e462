"""`robustmerge bench train-clip`: an expert of CLIP, for the paper's vision tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def train(
    *,
    base: str,
    task: str,
    data: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    init: Literal["shared", "independent"] = "shared",
    seed: int = 0,
    rank: int = 16,
    targets: Literal["attention", "all-linear"] = "attention",
    dropout: float = 0.1,
    learning_rate: float = 3e-4,
    weight_decay: float = 0.1,
    warmup: float = 0.03,
    epochs: int = 1,
    steps: int | None = None,
    batch: int = 32,
    limit: int | None = None,
    dtype: Literal["auto", "bfloat16", "float32"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    device_batch: int | None = None,
    gradient_checkpointing: bool = False,
    workers: int | None = None,
    save_every: int = 500,
    restart: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train an expert of CLIP on a vision task: a LoRA on its vision encoder.

    The text encoder is frozen, and so is the head that it makes of sentences about the classes. On
    several GPUs as `accelerate launch -m robustmerge bench train-clip …`. Stopped or killed, the
    same command goes on from the last checkpoint.

    Args:
        base: A CLIP model, folder or Hub id, such as openai/clip-vit-base-patch32.
        task: cars, mnist, sun397, gtsrb, resisc45, dtd, eurosat or svhn; several as mnist,svhn in
            one adapter, or vision for all eight.
        data: The folder that holds the data of all tasks: ROOT/Cars/train/CLASS/*.jpg, or
            ROOT/Cars/train.json. Cars/classes.json may map folders to names of classes.
        output: Folder to write. It appears whole or not at all.
        init: Whether A starts the same for all tasks of a seed or for each by itself, which
            decides what can be merged.
        seed: Of A, the order of the data and the dropout.
        rank: Of the LoRA; alpha is the same.
        targets: Layers of the vision encoder with a LoRA: those of attention, or all linear ones.
        dropout: Share of a LoRA's inputs that are dropped.
        learning_rate: The highest.
        weight_decay: Of AdamW.
        warmup: Share of the steps until the highest rate; a cosine falls to zero from there.
        epochs: Times that each picture is seen, unless steps are given.
        steps: How often the weights are changed; experts as good as published take some thousands.
        batch: Pictures of a step, on all devices together.
        limit: Pictures taken of each task, drawn by the seed.
        dtype: Of base and arithmetic; auto is bfloat16 where the device has it.
        device: Where to compute.
        device_batch: Pictures one device takes at once; the rest of a batch is accumulated.
        gradient_checkpointing: Compute activations twice, to hold fewer.
        workers: Processes that read pictures, for each device; 4 beside a GPU and none beside a
            CPU unless given.
        save_every: Steps between two checkpoints.
        restart: Forget a training that was begun in this place.
        force: Replace an adapter that is already there.
        json: Print the record as JSON.
    """
    from robustmerge.cli.optional import needing

    with needing("training", "robustmerge-bench"):
        from ..paper.training.clip.recipe import ClipRecipe
        from ..paper.training.place import DeviceConfig
        from . import show_clip

    return show_clip.run(
        base,
        task,
        data,
        output,
        ClipRecipe(
            rank=rank,
            targets=targets,
            dropout=dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup=warmup,
            epochs=epochs,
            steps=steps,
            batch=batch,
            limit=limit,
            dtype=dtype,
            init=init,
            seed=seed,
        ),
        DeviceConfig(device, device_batch, gradient_checkpointing, workers, save_every),
        restart=restart,
        force=force,
        as_json=json,
    )
