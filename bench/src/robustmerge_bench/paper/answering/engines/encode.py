"""From questions to what a model is called with, padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from robustmerge.errors import MergeError, few

from ..engine import Prompt, Request
from ..images import framed, opened
from ..prompts import vicuna
from ..tokens import token_ids


@dataclass(frozen=True)
class RequestEncoder:
    """A model's processor, and the way its questions are put.

    Attributes:
        processor: The model's.
        config: The model's.
        prompt: LLaVA-1.5's conversation word for word, or the model's own template.
        frames: Pictures are cropped or padded as the tasks' scripts do, which is for LLaVA-1.5.
    """

    processor: Any
    config: Any
    prompt: Prompt
    frames: bool

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self.frames and getattr(self.processor.image_processor, "do_pad", None):
            self.processor.image_processor.do_pad = False  # ours is by the task

    def __call__(self, questions: Sequence[Request]) -> dict[str, Tensor]:
        """A batch of questions, all of which have a picture or none.

        Raises:
            MergeError: A picture cannot be read, or the processor refuses a question.
        """
        pictures = [self._picture(one) for one in questions if one.image is not None]
        try:
            if self.prompt == "vicuna":
                return self._conversations([one.text for one in questions], pictures)
            return self._templated([one.text for one in questions], pictures)
        except Exception as error:  # every processor has errors of its own
            raise MergeError(
                f"the model's processor refuses a question: {error!r:.300}",
                where=few([f"{one.where}, question {one.id}" for one in questions]),
                hint="the question may hold a mark that means something to this model",
            ) from error

    def _picture(self, one: Request) -> Image.Image:
        assert one.image is not None
        image = opened(one.image, f"{one.where}, question {one.id}")
        if not self.frames:
            return image
        return framed(image, one.framing, self.processor.image_processor.image_mean)

    def _conversations(self, texts: Sequence[str], pictures: list[Image.Image]) -> dict[str, Any]:
        """As the original code makes them: the text's tokens apart from the picture's."""
        more: dict[str, Any] = {}
        count = 0
        if pictures:
            images = self.processor.image_processor(images=pictures, return_tensors="pt")
            more = {"pixel_values": images["pixel_values"]}
            count = picture_tokens(self.config, more["pixel_values"])
        ids = [
            token_ids(
                self.processor.tokenizer,
                vicuna(text, bool(pictures)),
                self.config.image_token_id,
                count,
            )
            for text in texts
        ]
        return _padded(ids, self.processor.tokenizer.pad_token_id) | more

    def _templated(self, texts: Sequence[str], pictures: list[Image.Image]) -> dict[str, Any]:
        written = [self._template(text, bool(pictures)) for text in texts]
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        start = self.processor.tokenizer.bos_token
        if start and written[0].startswith(start):
            options["add_special_tokens"] = False  # the template has written it
        if pictures:
            options["images"] = [[one] for one in pictures]
        return dict(self.processor(text=written, **options))

    def _template(self, text: str, image: bool) -> str:
        content = [{"type": "image"}] if image else []
        turn = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
        written: str = self.processor.apply_chat_template(
            [turn], tokenize=False, add_generation_prompt=True
        )
        return written


def picture_tokens(config: Any, pixels: Tensor) -> int:
    """How many tokens a picture is to LLaVA-1.5."""
    patch: int = config.vision_config.patch_size
    patches = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
    whole: bool = config.vision_feature_select_strategy == "full"  # its class token too
    return patches + whole


def _padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    missing = [longest - len(row) for row in rows]
    ids = [[pad] * n + list(row) for n, row in zip(missing, rows, strict=True)]
    mask = [[0] * n + [1] * len(row) for n, row in zip(missing, rows, strict=True)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
