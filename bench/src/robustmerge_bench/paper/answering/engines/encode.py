"""Requests as inputs of a model, padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from robustmerge.collect.processor import ModelProcessor, open_image, processor_errors
from robustmerge.errors import few

from ..engine import PromptFormat, Request
from ..images import frame_image
from ..prompts import vicuna
from ..tokens import llava_inputs


@dataclass(frozen=True)
class RequestEncoder:
    """A model's processor, and the prompt format of its requests.

    Attributes:
        prompt: LLaVA-1.5's conversation word for word, or the model's own template.
        frames: Images are cropped or padded as in the tasks' scripts, which is for LLaVA-1.5.
    """

    processor: Any
    config: Any
    prompt: PromptFormat
    frames: bool

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self.frames and getattr(self.processor.image_processor, "do_pad", None):
            self.processor.image_processor.do_pad = False  # the task decides about padding

    def __call__(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        """Return a batch of requests, all of which have an image or none."""
        images = [self._image(request) for request in requests if request.image is not None]
        texts = [request.text for request in requests]
        with processor_errors(
            "a question",
            few([request.location for request in requests]),
            "the question may hold a mark that means something to this model",
        ):
            if self.prompt == "vicuna":
                return self._conversations(texts, images)
            return self._templates(texts, images)

    def _image(self, request: Request) -> Image.Image:
        assert request.image is not None
        image = open_image(request.image, request.location)
        if not self.frames:
            return image
        return frame_image(image, request.framing, self.processor.image_processor.image_mean)

    def _conversations(self, texts: Sequence[str], images: list[Image.Image]) -> dict[str, Tensor]:
        prompts = [vicuna(text, bool(images)) for text in texts]
        ids, pixels = llava_inputs(self.processor, self.config, prompts, images)
        return _pad_left(ids, self.processor.tokenizer.pad_token_id) | pixels

    def _templates(self, texts: Sequence[str], images: list[Image.Image]) -> dict[str, Tensor]:
        model = ModelProcessor(self.processor)
        turns = [model.turn("user", text, images=int(bool(images))) for text in texts]
        prompts = [model.render([turn], ask=True) for turn in turns]
        return model.encode(prompts, [[image] for image in images], padding=True)


def _pad_left(rows: Sequence[Sequence[int]], pad: int) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    missing = [longest - len(row) for row in rows]
    ids = [[pad] * n + list(row) for n, row in zip(missing, rows, strict=True)]
    mask = [[0] * n + [1] * len(row) for n, row in zip(missing, rows, strict=True)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}  # [n, longest]
