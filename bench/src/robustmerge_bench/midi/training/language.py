"""Train projector and language model together on questions about composed images.

The loss is that of the answers' tokens. The language model's own weights stay; LoRA on all of its
linear layers is trained, or nothing at rank 0. One core takes 0.3 to 0.45 s for a question
of 75 tokens, of which the image is 49.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from numpy.random import Generator
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from ...item import Item
from ...mini.training.experts import LANGUAGE_MODEL
from ...mini.training.fit import Report, TrainingSchedule, fit, share_of
from ...mini.training.turns import Batch
from .dialog import Dialog, answer_loss
from .merged_linear import multiply_once
from .tower import pixels


@dataclass(frozen=True)
class LanguageSettings:
    """Length and rates of the training.

    Attributes:
        steps: Updates of the weights.
        batch: Images of a step, each with one or several questions.
        rate: Highest learning rate of AdamW; it falls along a cosine.
        rank: Of the language model's LoRA; 0 leaves it as it is.
        slow: Parameters with this in their names have a tenth of the rate.
        every: Steps between checkpoints.
        stop: The step after which the stage ends, where the next one goes on with its weights and
            the rate need not fall.
    """

    steps: int = 1000
    batch: int = 16
    rate: float = 5e-4
    rank: int = 24
    slow: str | None = None
    every: int = 50
    stop: int | None = None

    @property
    def schedule(self) -> TrainingSchedule:
        """The schedule of the rate."""
        return TrainingSchedule(self.steps, self.rate, muon=False, slow=self.slow, stop=self.stop)


Examples = Sequence[Sequence[Item]]
"""The questions about an image, for several images; those of one image have the same image."""

Draw = Callable[[Generator, int], Examples]
"""Draws the questions about so many images."""


@dataclass(frozen=True)
class Trainable:
    """A joined model and what of it is trained.

    Attributes:
        parameters: By name, with slashes for dots.
        wrapped: The same model as PEFT has it; None without LoRA.
    """

    model: LlavaForConditionalGeneration
    parameters: nn.ParameterDict
    wrapped: PeftModel | None = None

    @classmethod
    def of(cls, model: LlavaForConditionalGeneration, rank: int) -> Trainable:
        """Free the projector, and put LoRA on the language model, with alpha twice the rank."""
        model.requires_grad_(False)
        torch.manual_seed(0)  # every worker starts with the same A
        settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LANGUAGE_MODEL)
        wrapped = get_peft_model(model, settings) if rank else None
        model.model.multi_modal_projector.requires_grad_(True)
        return cls(model, _free(model), wrapped)

    @classmethod
    def wrapping(cls, wrapped: PeftModel) -> Trainable:
        """Train what PEFT trains."""
        model = cast("LlavaForConditionalGeneration", wrapped.base_model.model)
        return cls(model, _free(model), wrapped)

    def load(self, checkpoint: Path) -> None:
        """Take the parameters of a finished training of the same rank."""
        state = torch.load(checkpoint, map_location=self.model.device, weights_only=True)
        self.parameters.load_state_dict(state["module"])

    def merged(self) -> LlavaForConditionalGeneration:
        """Return the model with the LoRA in its weights."""
        if self.wrapped is None:
            return self.model
        return cast("LlavaForConditionalGeneration", self.wrapped.merge_and_unload())


def _free(model: LlavaForConditionalGeneration) -> nn.ParameterDict:
    free = {name: each for name, each in model.named_parameters() if each.requires_grad}
    return nn.ParameterDict({name.replace(".", "/"): each for name, each in free.items()})


def train_language(
    trainable: Trainable,
    dialog: Dialog,
    draw: Draw,
    settings: LanguageSettings,
    checkpoint: Path,
    *,
    report: Report,
    seed: tuple[int, ...] = (0, 2),
    seconds: float = float("inf"),
) -> int:
    """Train until the end, or for so many seconds; return the step that was reached.

    The checkpoint holds what is trained and is written whole; a training that was stopped goes on
    from it with the same items.
    """
    model = trainable.model
    device = model.device.type

    def loss(rng: Generator) -> Tensor:
        examples = draw(rng, share_of(settings.batch))
        parts = [collate_with_features(model, dialog, part) for part in split_by_length(examples)]
        with torch.autocast(device, torch.bfloat16):
            return answer_loss(model, parts)

    with multiply_once(trainable.wrapped):
        return fit(
            trainable.parameters,
            loss,
            settings.schedule,
            seed=seed,
            report=report,
            device=device,
            checkpoint=checkpoint,
            every=settings.every,
            seconds=seconds,
        )


def split_by_length(examples: Examples) -> list[Examples]:
    """Return the longer and the shorter half: padded apart, they have fewer tokens in all."""
    ordered = sorted(examples, key=lambda items: sum(len(i.prompt + i.answer) for i in items))
    half = len(ordered) // 2
    return [part for part in (ordered[:half], ordered[half:]) if part]


@torch.no_grad()
def collate_with_features(
    model: LlavaForConditionalGeneration, dialog: Dialog, examples: Examples
) -> tuple[Batch, Tensor]:
    """Return rows of tokens, and the tower's tokens [rows, 49, 1728] of their images."""
    images = pixels([items[0].image for items in examples]).to(model.device)
    features = model.model.vision_tower(images).last_hidden_state
    return dialog.collate(examples).to(model.device), features
