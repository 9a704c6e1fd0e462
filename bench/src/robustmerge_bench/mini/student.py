"""Fast greedy answers of the base with any adapter.

A test compares it with `generate` and PEFT, which take ten times as long. Every image is encoded
once, prompts of one length are a batch, and an adapter is added to the weights, at any scale, and
taken off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from ..item import Item
from .greedy import batches_of_one_length, decode_greedily
from .switched import SwitchedWeights
from .training.dialog import NUMBER, PREFIX, SKIPPED, look, numbers
from .training.model import PATCHES, pixels
from .world.words import ASSISTANT, END, IMAGE, PAD, START, UNKNOWN, vocabulary

LONGEST = 24  # tokens of an answer
BATCH = 100
WORDS = vocabulary()
NOT_SHOWN = {PAD, START, UNKNOWN, IMAGE}  # not part of an answer


class MiniModel:
    """The base model, with one adapter at a time.

    It computes in bfloat16, as adapters are served, three times as fast as in float32. An adapter
    is added to the base in float32 and rounded once.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self._weights = SwitchedWeights(model)
        for part in (model.model.language_model, model.lm_head, model.model.multi_modal_projector):
            part.to(dtype)
        self._dtype = dtype
        self._features: dict[bytes, Tensor] = {}

    @classmethod
    def load(
        cls, base: Path, device: str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> MiniModel:
        """Load the base model from a folder of transformers."""
        model = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
        return cls(model, device, dtype)

    @torch.inference_mode()
    def answer(self, items: Sequence[Item]) -> list[str]:
        """Return a greedy answer for each item."""
        prompts = [numbers(f"{item.prompt} {ASSISTANT}") for item in items]
        features = self.features(items)
        answers = [""] * len(items)
        for batch in batches_of_one_length(prompts, BATCH):
            texts = self.generate(torch.tensor([prompts[i] for i in batch]), features[batch])
            for i, text in zip(batch, texts, strict=True):
                answers[i] = text
        return answers

    def generate(self, prompts: Tensor, features: Tensor) -> list[str]:
        """Return greedy answers to prompts [n, length] and features [n, 36, vision_width]."""
        llava = self.model.model
        inner = llava.language_model
        prompts = prompts.to(self.device)
        prefix = torch.tensor([NUMBER[token] for token in PREFIX], device=self.device)
        tokens = torch.cat([prefix.expand(len(prompts), -1), prompts], dim=1)
        embedded = inner.embed_tokens(tokens)
        embedded[:, SKIPPED : SKIPPED + PATCHES] = llava.multi_modal_projector(features)
        decoded = decode_greedily(self.model, embedded, end=NUMBER[END], longest=LONGEST)
        shown = [[WORDS[i] for i in tokens if WORDS[i] not in NOT_SHOWN] for tokens in decoded]
        return [" ".join(words) for words in shown]

    def features(self, items: Sequence[Item]) -> Tensor:
        """Return the vision tower's features of the items' images [n, 36, vision_width], cached."""
        keys = [item.image.tobytes() for item in items]
        images = {key: item.image for key, item in zip(keys, items, strict=True)}
        new = [(key, image) for key, image in images.items() if key not in self._features]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            rows = look(self.model, pixels([image for _, image in batch]).to(self.device))
            self._features.update(
                (key, row.to(self._dtype)) for (key, _), row in zip(batch, rows, strict=True)
            )
        return torch.stack([self._features[key] for key in keys])

    def using(self, adapter: Path | None, scale: float = 1.0) -> AbstractContextManager[None]:
        """Use an adapter in a block: its scaled LoRA updates, and its fully trained parameters.

        It is a PEFT folder; None for the base alone.
        """
        return self._weights.using(adapter, scale)
