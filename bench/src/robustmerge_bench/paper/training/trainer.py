"""transformers' Trainer for experts: the order of examples, rates and settings.

The loss of a step is the mean over all its tokens or images, whichever devices and portions they
are computed in, so that neither changes what is learned.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainingArguments

from .device import DeviceConfig
from .expert import LORA
from .recipe import ExpertRecipe

LOGGED = 100  # reports of the loss, at most


def arguments(
    recipe: ExpertRecipe,
    device: DeviceConfig,
    folder: Path,
    rows: int,
    *,
    portion: int,
    **more: Any,
) -> TrainingArguments:
    """Return the Trainer's arguments, with `more` that depend on the model.

    `folder` is that of the checkpoints, `rows` the examples seen in all epochs, and `portion` those
    that one device gets at once.
    """
    known = {field.name for field in fields(TrainingArguments)}
    # Versions of transformers name these arguments differently.
    recompute = "activation" if "activation_checkpointing" in known else "gradient"
    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=not device.on_gpu,
        seed=recipe.seed,
        num_train_epochs=1,  # the rows are of all epochs
        per_device_train_batch_size=portion,
        gradient_accumulation_steps=recipe.batch // portion // device.processes,
        average_tokens_across_devices=True,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.count_warmup_steps(rows),
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        optim="adamw_torch",
        bf16=device.dtype(recipe.dtype) == torch.bfloat16,
        label_names=["labels"],
        logging_steps=max(1, recipe.count_steps(rows) // LOGGED),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=device.save_every,
        save_total_limit=2,  # one is complete while the other is written
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=device.readers,
        dataloader_pin_memory=device.on_gpu,
        **{
            f"{recompute}_checkpointing": device.gradient_checkpointing,
            f"{recompute}_checkpointing_kwargs": {"use_reentrant": False},
        },
        **more,
    )
    # Several GPUs need several processes; one would copy the model to all of them every step.
    args._n_gpu = min(1, args.n_gpu)
    return args


class ExpertTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """The Trainer, on examples that are in their order already, and without printing."""

    def __init__(self, *, projector_rate: float | None = None, **options: Any) -> None:
        """Keep the Trainer's options, and the highest rate of fully trained parameters, if any."""
        super().__init__(**options)
        self.optimizer: Any
        self._projector_rate = projector_rate
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # One order, the same for any number of devices.
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create AdamW, with a second rate for fully trained parameters."""
        if self.optimizer is None and self._projector_rate is not None:
            model = self.model if model is None else model
            adamw, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = adamw(two_rates(model, self._projector_rate), **options)
        if self.optimizer is None:  # older versions of transformers pass no model
            super().create_optimizer(*([] if model is None else [model]))
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer


def two_rates(model: nn.Module, projector_rate: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups: the LoRA at its own rate, fully trained parameters at another.

    Neither decays.
    """
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    lora = {"params": [weight for name, weight in trained if LORA in name]}
    full = {"params": [weight for name, weight in trained if LORA not in name]}
    groups: list[dict[str, Any]] = [lora, full | {"lr": projector_rate}]
    return [group | {"weight_decay": 0.0} for group in groups if group["params"]]
