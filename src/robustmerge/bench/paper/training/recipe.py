"""A recipe: everything that decides what an expert becomes, but for base and data.

The defaults are the paper's as far as it says, and those of LLaVA-1.5's task script for the rest:
rank, modules, epochs and the projector are the paper's; rates, alpha, dropout, schedule, batch and
the gray frame are the script's.

Source: arXiv:2502.17159, sec. 4; scripts/v1_5/finetune_task_lora.sh of haotian-liu/LLaVA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ....errors import MergeError

Init = Literal["shared", "independent"]
Projector = Literal["trained", "frozen"]
Prompt = Literal["auto", "vicuna", "chat-template"]
Framing = Literal["auto", "pad", "as-is"]
DType = Literal["auto", "bfloat16", "float32"]


@dataclass(frozen=True)
class Recipe:
    """How an expert is trained.

    Attributes:
        rank: Of the LoRA; its alpha is twice that.
        dropout: Share of a LoRA's inputs that are dropped.
        projector: Trained whole, or frozen.
        learning_rate: Highest rate of the LoRA.
        projector_rate: Highest rate of the projector.
        warmup: Share of the steps until the highest rate, from which a cosine falls to zero.
        epochs: Times that each conversation is seen.
        batch: Conversations of a step, on all devices together.
        limit: Conversations taken of each task, drawn by the seed; None for all.
        max_length: Most tokens of a conversation, picture included; what is longer is cut behind.
        prompt: LLaVA-1.5's vicuna format, the model's chat template, or what suits the model.
        framing: A gray square around every picture, or none; auto, what suits the model.
        dtype: Type of the base and of the arithmetic; auto: bfloat16 where the device has it.
        init: Whether all tasks start from one A, or each from its own.
        seed: Of A, the order, the draws and the dropout.
    """

    rank: int = 16
    dropout: float = 0.05
    projector: Projector = "trained"
    learning_rate: float = 2e-4
    projector_rate: float = 2e-5
    warmup: float = 0.03
    epochs: int = 1
    batch: int = 128
    limit: int | None = None
    max_length: int = 2048
    prompt: Prompt = "auto"
    framing: Framing = "auto"
    dtype: DType = "auto"
    init: Init = "shared"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            MergeError: One is out of its range.
        """
        for name in ("rank", "epochs", "batch", "limit", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _out_of_range(name, value, "1 or more")
        for name in ("learning_rate", "projector_rate"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise _out_of_range(name, value, "a number above 0")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise _out_of_range(name, getattr(self, name), "0 or more, and below 1")
        if not 0 <= self.seed < 2**32:
            raise _out_of_range("seed", self.seed, "from 0 to 4294967295")

    @property
    def alpha(self) -> int:
        """Alpha of the LoRA."""
        return 2 * self.rank

    def rows(self, counts: Sequence[int]) -> list[int]:
        """Which conversation is seen when, given how many each task has: epoch after epoch.

        The order is one for all devices together, and depends on nothing but the seed.
        """
        starts = np.cumsum([0, *counts[:-1]])
        chosen = np.concatenate(
            [
                start + np.random.default_rng([self.seed, 1, task]).permutation(n)[: self.limit]
                for task, (start, n) in enumerate(zip(starts, counts, strict=True))
            ]
        )
        epochs = [
            np.random.default_rng([self.seed, 2, epoch]).permutation(chosen)
            for epoch in range(self.epochs)
        ]
        return [int(row) for row in np.concatenate(epochs)]

    def steps(self, rows: int) -> int:
        """How often the weights are changed."""
        return math.ceil(rows / self.batch)

    def warmup_steps(self, rows: int) -> int:
        """The steps until the highest rate."""
        return math.ceil(self.warmup * self.steps(rows))


def _out_of_range(name: str, value: object, wanted: str) -> MergeError:
    option = f"--{name.replace('_', '-')}"
    return MergeError(f"{option} {value}", where=option, hint=f"{wanted}")
