"""transformers' Trainer for experts of CLIP: the order, and the loss under a frozen head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from ..training.place import Place
from .lessons import Examples, together
from .recipe import Recipe

LOGGED = 100  # times that the loss is told, at most


@dataclass(frozen=True)
class ClassLoss:
    """Cross entropy of each picture's class among those of its task.

    Attributes:
        head: A row for each class of all tasks; none is trained.
        owners: The task that each class belongs to.
        scale: What cosines are multiplied by to become logits.
    """

    head: Float[Tensor, "classes dim"]
    owners: Int[Tensor, " classes"]
    scale: Float[Tensor, ""]

    def __call__(
        self,
        outputs: Any,
        labels: Int[Tensor, " pictures"],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The sum over these pictures, by the number of pictures of the whole step."""
        device = labels.device
        seen = normalize(outputs.pooler_output.float(), dim=-1)
        logits = self.scale.to(device) * seen @ self.head.to(device).T
        owners = self.owners.to(device)
        others = owners[labels][:, None] != owners
        total = cross_entropy(logits.masked_fill(others, -torch.inf), labels, reduction="sum")
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def arguments(recipe: Recipe, place: Place, folder: Path, steps: int) -> TrainingArguments:
    """What the Trainer is told.

    Args:
        recipe: The recipe.
        place: Where it runs.
        folder: Where checkpoints are kept.
        steps: How often the weights are changed.
    """
    portion = portion_of(recipe, place)
    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=not place.on_gpu,
        seed=recipe.seed,
        max_steps=steps,
        per_device_train_batch_size=portion,
        gradient_accumulation_steps=recipe.batch // portion // place.processes,
        average_tokens_across_devices=True,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(recipe.warmup * steps),
        optim="adamw_torch",
        bf16=place.computes_in(recipe.dtype) == torch.bfloat16,
        logging_steps=max(1, steps // LOGGED),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=place.save_every,
        save_total_limit=2,  # one is whole while the other is written
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=place.workers,
        dataloader_pin_memory=place.on_gpu,
    )
    # Several GPUs are for several processes; one would copy the model to all of them every step.
    args._n_gpu = min(1, args.n_gpu)
    return args


def portion_of(recipe: Recipe, place: Place) -> int:
    """Pictures that one device takes at once: all of its share, unless told otherwise.

    Raises:
        MergeError: The batch cannot be divided so.
    """
    smallest = place.portion(recipe.batch)
    return smallest if place.device_batch else recipe.batch // place.processes


class ExpertTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """The Trainer, with the recipe's order and loss."""

    def __init__(
        self,
        model: PeftModel,
        args: TrainingArguments,
        examples: Examples,
        loss: ClassLoss,
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        """Keep what is needed.

        Args:
            model: CLIP's vision encoder with a LoRA, called with pixel_values.
            args: From `arguments`.
            examples: In the order in which they are seen.
            loss: The loss.
            callbacks: What else happens after steps.
        """
        super().__init__(
            model=model,
            args=args,
            train_dataset=examples,
            data_collator=together,
            compute_loss_func=loss,
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The examples are in their order already, the same for any number of devices.
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)
