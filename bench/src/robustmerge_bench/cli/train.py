"""`robustmerge bench train`: an expert by the paper's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def train(
    *,
    base: str,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    task: str | None = None,
    data: Path | None = None,
    conversations: Path | None = None,
    images: Path | None = None,
    init: Literal["shared", "independent"] = "shared",
    seed: int = 0,
    rank: int = 16,
    dropout: float = 0.05,
    projector: Literal["trained", "frozen"] = "trained",
    learning_rate: float = 2e-4,
    projector_rate: float = 2e-5,
    warmup: float = 0.03,
    epochs: int = 1,
    batch: int = 128,
    limit: int | None = None,
    max_length: int = 2048,
    prompt: Literal["auto", "vicuna", "chat-template"] = "auto",
    framing: Literal["auto", "pad", "as-is"] = "auto",
    dtype: Literal["auto", "bfloat16", "float32"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    device_batch: int | None = None,
    gradient_checkpointing: bool = True,
    workers: int | None = None,
    save_every: int = 100,
    restart: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train an expert by the paper's recipe: a LoRA on the language model, the projector whole.

    On one GPU or the CPU as it is; on several, and with DeepSpeed or FSDP, as `accelerate launch
    -m robustmerge bench train …`. Stopped or killed, the same command goes on from the last
    checkpoint.

    Args:
        base: The base model, a folder or Hub id.
        output: Folder to write. It appears whole or not at all.
        task: A task of the benchmark such as scienceqa, several as vqav2,rec in one adapter, or
            joint for the eight seen tasks. With --conversations, any name.
        data: The folder that holds the data of all tasks.
        conversations: Instead of a task's, any file of conversations as LLaVA keeps them: id,
            image, conversations: [{from: human or gpt, value}].
        images: Where paths of pictures in that file start; its own folder unless told otherwise.
        init: Whether A starts the same for all tasks of a seed or for each by itself, which
            decides what can be merged.
        seed: Of A, the order of the data and the dropout.
        rank: Of the LoRA; alpha is twice that.
        dropout: Share of a LoRA's inputs that are dropped.
        projector: What lies between vision tower and language model: trained whole, or frozen.
        learning_rate: Highest rate of the LoRA.
        projector_rate: Highest rate of the projector.
        warmup: Share of the steps until the highest rate; a cosine falls to zero from there.
        epochs: Times that each conversation is seen.
        batch: Conversations of a step, on all devices together.
        limit: Conversations taken of each task, drawn by the seed.
        max_length: Most tokens of a conversation, picture included; what is longer is cut behind.
        prompt: LLaVA-1.5's vicuna format, the model's chat template, or what suits the model.
        framing: Put pictures on a gray square, leave them, or what suits the model.
        dtype: Of base and arithmetic; auto is bfloat16 where the device has it.
        device: Where to compute.
        device_batch: Conversations one device takes at once; the rest of a batch is accumulated.
        gradient_checkpointing: Compute activations twice, to hold fewer.
        workers: Processes that read pictures, for each device; 4 beside a GPU.
        save_every: Steps between two checkpoints.
        restart: Forget a training that was begun in this place.
        force: Replace an adapter that is already there.
        json: Print the record as JSON.
    """
    from robustmerge.cli.optional import needing

    with needing("training", "robustmerge-bench"):
        from ..paper.training.place import DeviceConfig
        from ..paper.training.recipe import TrainingRecipe
        from . import show_train

    return show_train.run(
        base,
        output,
        show_train.sources(task, data, conversations, images),
        TrainingRecipe(
            rank=rank,
            dropout=dropout,
            projector=projector,
            learning_rate=learning_rate,
            projector_rate=projector_rate,
            warmup=warmup,
            epochs=epochs,
            batch=batch,
            limit=limit,
            max_length=max_length,
            prompt=prompt,
            framing=framing,
            dtype=dtype,
            init=init,
            seed=seed,
        ),
        DeviceConfig(device, device_batch, gradient_checkpointing, workers, save_every),
        restart=restart,
        force=force,
        as_json=json,
    )
