"""Recipes: everything that decides what an expert becomes, except base and data.

The defaults are the paper's where it gives them, and those of LLaVA-1.5's task script otherwise:
rank, modules, epochs and the projector are the paper's; rates, alpha, dropout, schedule, batch and
the gray frame are the script's.

Source: arXiv:2502.17159, sec. 4; scripts/v1_5/finetune_task_lora.sh of haotian-liu/LLaVA.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from robustmerge.errors import MergeError

from ..answering.options import PromptOption

StartOfA = Literal["shared", "independent"]
ProjectorOption = Literal["trained", "frozen"]
FramingOption = Literal["auto", "pad", "as-is"]
DType = Literal["auto", "bfloat16", "float32"]


@dataclass(frozen=True)
class NumberRange:
    """Numbers that an option may have, and their range in words."""

    words: str
    contains: Callable[[float], bool]


COUNT = NumberRange("1 or more", lambda value: value >= 1)
RATE = NumberRange("a number above 0", lambda value: 0 < value < math.inf)
AMOUNT = NumberRange("0 or more", lambda value: 0 <= value < math.inf)
SHARE = NumberRange("0 or more, and below 1", lambda value: 0 <= value < 1)
SEED = NumberRange("from 0 to 4294967295", lambda value: 0 <= value < 2**32)


def check(settings: object, allowed: NumberRange, *names: str) -> None:
    """Check settings with the names of their options; None stands for an option without a value."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not allowed.contains(value):
            option = f"--{name.replace('_', '-')}"
            raise MergeError(f"{option} {value}", where=option, hint=allowed.words)


class ExpertRecipe:
    """Settings that the recipes of all experts have, and what follows from them."""

    rank: int
    dropout: float
    learning_rate: float
    warmup: float
    epochs: int
    batch: int
    limit: int | None
    dtype: DType
    init: StartOfA
    seed: int

    def __post_init__(self) -> None:
        check(self, COUNT, "rank", "epochs", "batch", "limit")
        check(self, RATE, "learning_rate")
        check(self, SHARE, "dropout", "warmup")
        check(self, SEED, "seed")

    @property
    def alpha(self) -> int:
        """Alpha of the LoRA."""
        return self.rank

    def seen(self, examples: int) -> int:
        """Return how many examples are seen in all, given how many an epoch has."""
        return self.epochs * examples

    def rows(self, counts: Sequence[int]) -> list[int]:
        """Return the order of all tasks' examples, epoch after epoch.

        It is the same for any number of devices, and depends on nothing but the seed.

        There is one count of examples for each task.
        """
        import numpy as np  # not by the command line's help, which reads a recipe's options

        seen = self.seen(sum(min(count, self.limit or count) for count in counts))
        if not seen:
            return []
        starts = np.cumsum([0, *counts[:-1]])
        chosen = np.concatenate(
            [
                start + np.random.default_rng([self.seed, 1, task]).permutation(count)[: self.limit]
                for task, (start, count) in enumerate(zip(starts, counts, strict=True))
            ]
        )
        epochs = [
            np.random.default_rng([self.seed, 2, epoch]).permutation(chosen)
            for epoch in range(math.ceil(seen / len(chosen)))
        ]
        return [int(row) for row in np.concatenate(epochs)[:seen]]

    def count_steps(self, rows: int) -> int:
        """Return the number of updates of the weights."""
        return math.ceil(rows / self.batch)

    def count_warmup_steps(self, rows: int) -> int:
        """Return the number of steps until the highest rate."""
        return math.ceil(self.warmup * self.count_steps(rows))

    def check_steps(self, rows: int) -> None:
        """Check that there are steps beyond the warm-up, which begins at a rate of zero."""
        steps, warm = self.count_steps(rows), self.count_warmup_steps(rows)
        if warm >= steps:
            raise MergeError(
                f"the training has {'one step' if steps == 1 else f'{steps} steps'}, and the "
                f"warm-up from a rate of zero takes {warm}",
                where=f"--batch, --warmup\n{rows} examples in batches of {self.batch}",
                hint="a smaller --batch, more --epochs, or --warmup 0",
            )


@dataclass(frozen=True)
class TrainingRecipe(ExpertRecipe):
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
    projector: ProjectorOption = "trained"
    learning_rate: float = 2e-4
    projector_rate: float = 2e-5
    warmup: float = 0.03
    epochs: int = 1
    batch: int = 128
    limit: int | None = None
    max_length: int = 2048
    prompt: PromptOption = "auto"
    framing: FramingOption = "auto"
    dtype: DType = "auto"
    init: StartOfA = "shared"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, COUNT, "max_length")
        check(self, RATE, "projector_rate")

    @property
    def alpha(self) -> int:
        """Alpha of the LoRA."""
        return 2 * self.rank
