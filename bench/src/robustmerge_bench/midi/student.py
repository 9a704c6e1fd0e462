"""Greedy answers of the joined model with any adapter, as in the laptop benchmark.

Every image is encoded once and kept, 170 kB each; prompts of one length are a batch. An answer
takes about 0.13 s of one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from ..item import Item
from ..mini.greedy import batches_of_one_length, decode_greedily
from ..mini.switched import SwitchedWeights
from .training.dialog import Dialog, embed
from .training.tower import pixels, register_tower

LONGEST = 24  # tokens of an answer
BATCH = 25


class MidiModel:
    """The joined model, with one adapter at a time.

    It computes in bfloat16, as adapters are served. An adapter is added to the base in float32 and
    rounded once. Tower and projector stay in float32, as does what they make of an image.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        dialog: Dialog,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.dialog = dialog
        self._weights = SwitchedWeights(model)
        for part in (model.model.language_model, model.lm_head):
            part.to(dtype)
        self._features: dict[bytes, Tensor] = {}

    @classmethod
    def load(
        cls, base: Path, device: str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> MidiModel:
        """Load the joined model from a folder of transformers."""
        register_tower()
        model = LlavaForConditionalGeneration.from_pretrained(
            base, dtype=torch.float32, attn_implementation="eager"
        )
        tokenizer = AutoTokenizer.from_pretrained(base)
        return cls(model, Dialog(tokenizer, model.config.image_token_index), device, dtype)

    def using(self, adapter: Path | None, scale: float = 1.0) -> AbstractContextManager[None]:
        """Use an adapter in a block: its scaled LoRA updates, and its fully trained parameters."""
        return self._weights.using(adapter, scale)

    @torch.inference_mode()
    def answer(self, items: Sequence[Item]) -> list[str]:
        """Return a greedy answer for each item."""
        prompts = [self.dialog.prompt(item.prompt) for item in items]
        answers = [""] * len(items)
        for batch in batches_of_one_length(prompts, BATCH):
            tokens = torch.tensor([prompts[i] for i in batch], device=self.model.device)
            features = self.features([items[i] for i in batch])
            inputs = embed(self.model, tokens, features)
            decoded = decode_greedily(self.model, inputs, end=self.dialog.end, longest=LONGEST)
            for i, words in zip(batch, decoded, strict=True):
                answers[i] = self.dialog.text(words)
        return answers

    def features(self, items: Sequence[Item]) -> Tensor:
        """Return the tower's standardized tokens of the items' images, [n, 49, channels]."""
        keys = [hashlib.blake2b(item.image.tobytes()).digest() for item in items]
        new = {k: i.image for k, i in zip(keys, items, strict=True) if k not in self._features}
        if new:
            images = pixels(list(new.values())).to(self.model.device)
            tokens = self.model.model.vision_tower(images).last_hidden_state
            halves = tokens.to(torch.bfloat16)
            self._features.update(zip(new, halves, strict=True))
        return torch.stack([self._features[key] for key in keys]).float()
