"""A model that sits exams: the base with any adapter on it, answering fast.

Everything here could be done by `generate` and PEFT, and a test holds it to that; it would take ten
times as long. Pictures are looked at once, questions of one length go together, and an adapter is
added to the weights, at any scale, and taken off again.
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

from robustmerge.adapter.reader import Adapter
from robustmerge.errors import MergeError, few

from ..item import Item
from .training.dialog import NUMBER, PREFIX, SKIPPED, look, numbers
from .training.model import PATCHES, pixels
from .world.words import ASSISTANT, END, IMAGE, PAD, START, UNKNOWN, vocabulary

LONGEST = 24  # tokens of an answer
BATCH = 100
WORDS = vocabulary()
SILENT = {PAD, START, UNKNOWN, IMAGE}  # not part of an answer


class MiniModel:
    """The base model, and whatever adapter it wears.

    It computes in bfloat16, three times as fast as in float32, as adapters are served, too. What is
    worn is added to the base in float32 and rounded once.
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
        self._seen: dict[bytes, Tensor] = {}

    @classmethod
    def load(
        cls, base: Path, device: str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> MiniModel:
        """Load the base model from a folder of transformers."""
        model = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
        return cls(model, device, dtype)

    @torch.inference_mode()
    def answer(self, items: Sequence[Item]) -> list[str]:
        """The likeliest words, one after the other, for each item."""
        prompts = [numbers(f"{item.prompt} {ASSISTANT}") for item in items]
        features = self.features(items)
        groups = defaultdict(list)
        for place, prompt in enumerate(prompts):
            groups[len(prompt)].append(place)
        answers = [""] * len(items)
        for places in groups.values():
            for start in range(0, len(places), BATCH):
                some = places[start : start + BATCH]
                said = self.say(torch.tensor([prompts[p] for p in some]), features[some])
                for place, words in zip(some, said, strict=True):
                    answers[place] = words
        return answers

    def say(self, prompts: Tensor, features: Tensor) -> list[str]:
        """Greedy answers to prompts of one length: [n, length] and [n, 36, vision_width]."""
        llava = self.model.model
        inner = llava.language_model
        prompts = prompts.to(self.device)
        prefix = torch.tensor([NUMBER[token] for token in PREFIX], device=self.device)
        tokens = torch.cat([prefix.expand(len(prompts), -1), prompts], dim=1)
        embedded = inner.embed_tokens(tokens)
        embedded[:, SKIPPED : SKIPPED + PATCHES] = llava.multi_modal_projector(features)
        cache = cache_argument(inner)
        out = inner(inputs_embeds=embedded, use_cache=True)
        said: list[list[str]] = [[] for _ in range(len(prompts))]
        open_ = torch.ones(len(prompts), dtype=torch.bool, device=self.device)
        for _ in range(LONGEST):
            word = self.model.lm_head(out.last_hidden_state[:, -1]).argmax(-1)
            open_ &= word != NUMBER[END]
            if not open_.any():
                break
            for place, (w, o) in enumerate(zip(word.tolist(), open_.tolist(), strict=True)):
                if o and WORDS[w] not in SILENT:
                    said[place].append(WORDS[w])
            out = inner(
                inputs_embeds=inner.embed_tokens(word[:, None]),
                use_cache=True,
                **{cache: out[cache]},
            )
        return [" ".join(words) for words in said]

    def features(self, items: Sequence[Item]) -> Tensor:
        """What the vision tower makes of the items' pictures, kept for the next time."""
        keys = [item.image.tobytes() for item in items]
        new = list({key: item.image for key, item in zip(keys, items, strict=True)}.items())
        new = [(key, image) for key, image in new if key not in self._seen]
        for start in range(0, len(new), BATCH):
            some = new[start : start + BATCH]
            seen = look(self.model, pixels([image for _, image in some]).to(self.device))
            self._seen.update(
                (key, row.to(self._dtype)) for (key, _), row in zip(some, seen, strict=True)
            )
        return torch.stack([self._seen[key] for key in keys])

    @contextmanager
    def using(self, adapter: Path | None, scale: float = 1.0) -> Iterator[None]:
        """Answer with an adapter on: its update times the scale, what it trained whole as it is.

        Args:
            adapter: A PEFT folder; none leaves the base as it is.
            scale: Of the LoRA updates.

        Raises:
            MergeError: The adapter is damaged, or has modules that the model lacks.
        """
        changed = set() if adapter is None else self._put_on(adapter, scale)
        try:
            yield
        finally:
            self._set({name: self._exact[name] for name in changed})

    def _put_on(self, adapter: Path, scale: float) -> set[str]:
        """Change the weights; the names of those that are changed."""
        worn = Adapter(adapter)
        changed = {f"{name}.weight" for name in worn.modules} | set(worn.extras)
        if absent := sorted(changed - set(self._exact)):
            raise MergeError(
                "the adapter has modules that the model lacks",
                where=f"{adapter}  {few(absent)}",
                hint="it was trained from another base model",
            )
        new = {name: place.read() for name, place in worn.extras.items()}
        for name in worn.modules:
            delta = worn.factors(name).dense().to(self.device)
            new[f"{name}.weight"] = self._exact[f"{name}.weight"] + scale * delta
        worn.close()
        self._set(new)
        return changed

    @torch.no_grad()
    def _set(self, new: Mapping[str, Tensor]) -> None:
        """Give weights new values."""
        weights = dict(self.model.named_parameters())
        for name, values in new.items():
            weights[name].copy_(values)


def cache_argument(model: nn.Module) -> str:
    """Return what the model calls its cache of keys and values, as an argument and in its output.

    transformers renamed `past_key_values` to `cache` in version 5.24.
    """
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
