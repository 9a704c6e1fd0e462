"""What transformers' Trainer is told for experts of CLIP, and the loss under a frozen head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import TrainingArguments

from robustmerge.errors import MergeError

from ..fitting import trainer_arguments
from ..place import DeviceConfig
from .recipe import ClipRecipe


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


def arguments(
    recipe: ClipRecipe, place: DeviceConfig, folder: Path, steps: int
) -> TrainingArguments:
    """What the Trainer is told.

    Args:
        recipe: The recipe.
        place: Where it runs.
        folder: Where checkpoints are kept.
        steps: How often the weights are changed.

    Raises:
        MergeError: The batch cannot be divided so, or there are no steps beyond the warm-up.
    """
    portion = portion_of(recipe, place)
    warmup = math.ceil(recipe.warmup * steps)
    if warmup >= steps:
        raise MergeError(
            f"{steps} steps in all, and the warm-up from a rate of zero takes {warmup}",
            where="--steps, --warmup",
            hint="more --steps, a smaller --batch, or --warmup 0",
        )
    return trainer_arguments(
        recipe,
        place,
        folder,
        portion=portion,
        steps=steps,
        max_steps=steps,
        weight_decay=recipe.weight_decay,
        warmup_steps=warmup,
    )


def portion_of(recipe: ClipRecipe, place: DeviceConfig) -> int:
    """Pictures that one device takes at once: all of its share, unless told otherwise.

    Raises:
        MergeError: The batch cannot be divided so.
    """
    smallest = place.portion(recipe.batch)
    return smallest if place.device_batch else recipe.batch // place.processes
