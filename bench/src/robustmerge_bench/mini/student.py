"""Fast greedy answers of the base with any adapter.

A test compares it with `generate` and PEFT, which take ten times as long. Every image is encoded
once, prompts of one length are a batch, and an adapter is added to the weights, at any scale, and
taken off again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from robustmerge import load
from robustmerge.errors import MergeError, few

from ..item import Item
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
        self._exact = {name: weight.clone() for name, weight in model.named_parameters()}
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
        groups = defaultdict(list)
        for i, prompt in enumerate(prompts):
            groups[len(prompt)].append(i)
        answers = [""] * len(items)
        for group in groups.values():
            for start in range(0, len(group), BATCH):
                batch = group[start : start + BATCH]
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
        cache = cache_argument(inner)
        out = inner(inputs_embeds=embedded, use_cache=True)
        answers: list[list[str]] = [[] for _ in range(len(prompts))]
        unfinished = torch.ones(len(prompts), dtype=torch.bool, device=self.device)
        for _ in range(LONGEST):
            word = self.model.lm_head(out.last_hidden_state[:, -1]).argmax(-1)
            unfinished &= word != NUMBER[END]
            if not unfinished.any():
                break
            for i in unfinished.nonzero()[:, 0].tolist():
                if (text := WORDS[int(word[i])]) not in NOT_SHOWN:
                    answers[i].append(text)
            out = inner(
                inputs_embeds=inner.embed_tokens(word[:, None]),
                use_cache=True,
                **{cache: out[cache]},
            )
        return [" ".join(words) for words in answers]

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

    @contextmanager
    def using(self, adapter: Path | None, scale: float = 1.0) -> Iterator[None]:
        """Use an adapter in a block: its scaled LoRA updates, and its fully trained parameters.

        It is a PEFT folder; None for the base alone.
        """
        changed = set() if adapter is None else self._add(adapter, scale)
        try:
            yield
        finally:
            self._set({name: self._exact[name] for name in changed})

    def _add(self, folder: Path, scale: float) -> set[str]:
        """Add an adapter to the weights; return the names of those that change."""
        adapter = load(folder)
        changed = {f"{name}.weight" for name in adapter.modules} | set(adapter.extras)
        if absent := sorted(changed - set(self._exact)):
            raise MergeError(
                "the adapter has modules that are missing in the model",
                where=f"{folder}  {few(absent)}",
                hint="it was trained from another base model",
            )
        new = {name: extra.read() for name, extra in adapter.extras.items()}
        for name in adapter.modules:
            delta = adapter.factors(name).dense().to(self.device)  # [d_out, d_in]
            new[f"{name}.weight"] = self._exact[f"{name}.weight"] + scale * delta
        adapter.close()
        self._set(new)
        return changed

    @torch.no_grad()
    def _set(self, new: Mapping[str, Tensor]) -> None:
        """Set the values of weights."""
        weights = dict(self.model.named_parameters())
        for name, values in new.items():
            weights[name].copy_(values)


def cache_argument(model: nn.Module) -> str:
    """Return the model's name for its cache of keys and values, as an argument and in its output.

    transformers renamed `past_key_values` to `cache` in version 5.24.
    """
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
