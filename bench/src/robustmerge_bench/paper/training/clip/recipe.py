"""How an expert of CLIP is trained: everything that decides it, but for base and data.

The paper gives the rank, and that the LoRA is on the vision encoder. Its experts score within one
point of KnOTS's, so that the rest is from there: the four linear layers of attention, alpha equal
to the rank, dropout, AdamW, its rate and its decay. KnOTS trains for up to 50,000 steps of 32
pictures and keeps the best by validation; here the steps are given, and the last weights are kept.

Source: arXiv:2502.17159, sec. 4; training_scripts/8vision_training.py of gstoica27/KnOTS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from robustmerge.errors import unknown

from ..options import AMOUNT, COUNT, RATE, SEED, SHARE, check
from ..order import order, taken
from ..recipe import DType, Init

Targets = Literal["attention", "all-linear"]
_ATTENTION = r"self_attn\.(q|k|v|out)_proj"
PATTERNS = MappingProxyType(
    {
        "attention": rf"vision_model\.encoder\.layers\.\d+\.{_ATTENTION}",
        "all-linear": rf"vision_model\.encoder\.layers\.\d+\.({_ATTENTION}|mlp\.fc[12])",
    }
)
"""What PEFT's `target_modules` is, by name: layers of the text encoder have the same last parts."""


@dataclass(frozen=True)
class ClipRecipe:
    """How an expert is trained.

    Attributes:
        init: Whether A starts the same for all tasks of a seed or for each by itself, which
            decides what can be merged.
        seed: Of A, the order of the data and the dropout.
        rank: Of the LoRA; alpha is the same.
        targets: Linear layers of the vision encoder with a LoRA: those of attention, or all.
        dropout: Share of a LoRA's inputs that are dropped.
        learning_rate: The highest.
        weight_decay: Of AdamW.
        warmup: Share of the steps until the highest rate; a cosine falls to zero from there.
        epochs: Times that each image is seen, unless steps are given.
        steps: How often the weights are changed; experts as good as published take some thousands.
        batch: Images of a step, on all devices together.
        limit: Images taken of each task, drawn by the seed; all by default.
        dtype: Of base and arithmetic; auto is bfloat16 where the device has it.
    """

    rank: int = 16
    targets: Targets = "attention"
    dropout: float = 0.1
    learning_rate: float = 3e-4
    weight_decay: float = 0.1
    warmup: float = 0.03
    epochs: int = 1
    steps: int | None = None
    batch: int = 32
    limit: int | None = None
    dtype: DType = "auto"
    init: Init = "shared"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            MergeError: One is out of its range.
        """
        if self.targets not in PATTERNS:
            raise unknown("targets", self.targets, PATTERNS, where="--targets")
        check(self, COUNT, "rank", "epochs", "steps", "batch", "limit")
        check(self, RATE, "learning_rate")
        check(self, AMOUNT, "weight_decay")
        check(self, SHARE, "dropout", "warmup")
        check(self, SEED, "seed")

    def total(self, counts: Sequence[int]) -> int:
        """How often the weights are changed, given how many pictures each task has."""
        if self.steps is not None:
            return self.steps
        return self.epochs * math.ceil(taken(counts, self.limit) / self.batch)

    def rows(self, counts: Sequence[int]) -> list[int]:
        """Which picture is seen when, given how many each task has: in whole batches."""
        seen = self.total(counts) * self.batch
        return order(counts, self.limit, seen=seen, seed=self.seed)
