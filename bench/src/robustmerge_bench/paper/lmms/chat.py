"""Conversations of lmms-eval's own tasks: any number of turns and images, by a chat template.

LLaVA-1.5 gets the conversation format and the padded images that it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from robustmerge.collect.processor import open_image
from robustmerge.errors import MergeError

from ..answering import engines
from ..answering.images import frame_image

Turns = Sequence[Mapping[str, Any]]
"""One conversation: roles, and contents that are lists of texts and images."""

_VICUNA = Path(engines.__file__).parent / "vicuna_v1.jinja"


@dataclass(frozen=True)
class Chat:
    """A model in conversations.

    Attributes:
        model: Base and adapter, answering greedily.
        processor: The base's.
        vicuna: Whether it is LLaVA-1.5.
    """

    model: Any
    processor: Any
    vicuna: bool

    def answer(self, conversations: Sequence[Turns], most: int) -> list[str]:
        """Answer conversations that all have images, or none, with this many tokens at most."""
        images = [self._images(turns) for turns in conversations]
        prompts = [self._prompt(turns) for turns in conversations]
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        start = self.processor.tokenizer.bos_token
        if start and prompts[0].startswith(start):
            options["add_special_tokens"] = False  # the template has written it
        if images[0]:
            options["images"] = images
        inputs = self.processor(text=prompts, **options)
        return self._generate(inputs, most)

    @torch.inference_mode()
    def _generate(self, inputs: Mapping[str, Any], most: int) -> list[str]:
        device, dtype = self.model.device, self.model.dtype
        arguments = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in inputs.items()
        }
        tokens = self.model.generate(**arguments, max_new_tokens=most)
        tokens = tokens[:, arguments["input_ids"].shape[1] :]  # [conversations, tokens]
        return list(self.processor.tokenizer.batch_decode(tokens.cpu(), skip_special_tokens=True))

    def _prompt(self, turns: Turns) -> str:
        content = [
            {"role": turn["role"], "content": [_part(part) for part in turn["content"]]}
            for turn in turns
        ]
        options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
        if self.vicuna:
            options["chat_template"] = _VICUNA.read_text()
            for turn in content:
                if turn["role"] != "user":  # the model's own turns are plain text there
                    turn["content"] = "".join(part["text"] for part in turn["content"])
        prompt: str = self.processor.apply_chat_template(content, **options)
        return prompt

    def _images(self, turns: Turns) -> list[Image.Image]:
        images = [p["url"] for turn in turns for p in turn["content"] if p["type"] == "image"]
        return [self._frame(_open(image)) for image in images]

    def _frame(self, image: Image.Image) -> Image.Image:
        if not self.vicuna:
            return image
        return frame_image(image, "pad", self.processor.image_processor.image_mean)


def with_image(turns: Turns) -> bool:
    """Return whether a conversation has an image."""
    return any(part["type"] == "image" for turn in turns for part in turn["content"])


def _part(part: Mapping[str, Any]) -> dict[str, str]:
    if part["type"] == "image":
        return {"type": "image"}
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    raise MergeError(
        f"a task with {part['type']}",
        hint="this model answers texts and images; `robustmerge export --format full` makes a "
        "model for lmms-eval's own classes",
    )


def _open(image: Any) -> Image.Image:
    return open_image(Path(image), str(image)) if isinstance(image, str) else image.convert("RGB")
