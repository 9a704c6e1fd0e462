"""How an expert of CLIP is trained: everything that decides it, except base and data.

The paper gives the rank, and that the LoRA is on the vision encoder. Its experts score within one
point of KnOTS's, so the rest is from there: the four linear layers of attention, alpha equal to the
rank, dropout, AdamW, its rate and its decay. KnOTS trains for up to 50,000 steps of 32 images and
keeps the best by validation; here the number of steps is an option, and the last weights are kept.

Source: arXiv:2502.17159, sec. 4; training_scripts/8vision_training.py of gstoica27/KnOTS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from robustmerge.errors import unknown

from ..recipe import AMOUNT, COUNT, DType, ExpertRecipe, StartOfA, check

Targets = Literal["attention", "all-linear"]
_ATTENTION = r"self_attn\.(q|k|v|out)_proj"
PATTERNS = MappingProxyType(
    {
        "attention": rf"vision_model\.encoder\.layers\.\d+\.{_ATTENTION}",
        "all-linear": rf"vision_model\.encoder\.layers\.\d+\.({_ATTENTION}|mlp\.fc[12])",
    }
)
"""PEFT's `target_modules` by name: layers of the text encoder have the same last parts."""


@dataclass(frozen=True)
class ClipRecipe(ExpertRecipe):
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
    init: StartOfA = "shared"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.targets not in PATTERNS:
            raise unknown("targets", self.targets, PATTERNS, where="--targets")
        super().__post_init__()
        check(self, COUNT, "steps")
        check(self, AMOUNT, "weight_decay")

    def seen(self, examples: int) -> int:
        """Return how many images are seen in all, in whole batches, given how many there are."""
        steps = self.steps
        if steps is None:
            steps = self.epochs * math.ceil(examples / self.batch)
        return steps * self.batch
