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

from .options import COUNT, RATE, SEED, SHARE, check
from .order import order, taken

Init = Literal["shared", "independent"]
Projector = Literal["trained", "frozen"]
Prompt = Literal["auto", "vicuna", "chat-template"]
Framing = Literal["auto", "pad", "as-is"]
DType = Literal["auto", "bfloat16", "float32"]


@dataclass(frozen=True)
class TrainingRecipe:
    """How an expert is trained.

    Attributes:
        init: Whether A starts the same for all tasks of a seed or for each by itself, which
            decides what can be merged.
        seed: Of A, the order of the data and the dropout.
        rank: Of the LoRA; alpha is twice that.
        dropout: Share of a LoRA's inputs that are dropped.
        projector: The connector of vision tower and language model: fully trained, or frozen.
        learning_rate: Highest rate of the LoRA.
        projector_rate: Highest rate of the projector.
        warmup: Share of the steps until the highest rate; a cosine falls to zero from there.
        epochs: Times that each conversation is seen.
        batch: Conversations of a step, on all devices together.
        limit: Conversations taken of each task, drawn by the seed; all by default.
        max_length: Most tokens of a conversation, image included; longer ones are cut off.
        prompt: LLaVA-1.5's vicuna format, the model's chat template, or what suits the model.
        framing: Put images on a gray square, leave them, or what suits the model.
        dtype: Of base and arithmetic; auto is bfloat16 where the device has it.
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
        check(self, COUNT, "rank", "epochs", "batch", "limit", "max_length")
        check(self, RATE, "learning_rate", "projector_rate")
        check(self, SHARE, "dropout", "warmup")
        check(self, SEED, "seed")

    @property
    def alpha(self) -> int:
        """Alpha of the LoRA."""
        return 2 * self.rank

    def rows(self, counts: Sequence[int]) -> list[int]:
        """Which conversation is seen when, given how many each task has: epoch after epoch."""
        seen = self.epochs * taken(counts, self.limit)
        return order(counts, self.limit, seen=seen, seed=self.seed)

    def steps(self, rows: int) -> int:
        """How often the weights are changed."""
        return math.ceil(rows / self.batch)

    def warmup_steps(self, rows: int) -> int:
        """The steps until the highest rate."""
        return math.ceil(self.warmup * self.steps(rows))
