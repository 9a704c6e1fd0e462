"""From a sample to what a model is called with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import MergeError
from .gradients import IGNORED
from .model import Batch
from .samples import Sample


@dataclass(frozen=True)
class SampleEncoder:
    """A processor or tokenizer of transformers.

    Attributes:
        processor: It.
        dtype: The model's type, which pixels get.
    """

    processor: Any
    dtype: torch.dtype

    def __call__(self, sample: Sample) -> dict[str, Any]:
        """A batch of one sample; with labels where it has an answer.

        Raises:
            MergeError: The model takes no images, or the processor refuses the sample.
        """
        try:
            return self._batch(sample)
        except MergeError:
            raise
        except Exception as error:  # every processor has errors of its own
            raise MergeError(
                f"the model's processor refuses the sample: {error!r:.300}",
                where=sample.where,
                hint="a text with images must name each by the model's image token; a prompt "
                "gets them from the chat template",
            ) from error

    def _batch(self, sample: Sample) -> dict[str, Any]:
        images = [_opened(sample, n) for n in range(len(sample.images))]
        if images and self._tokenizer is self.processor:
            raise MergeError(
                "the base has no processor for images",
                where=sample.where,
                hint="--base is a model of images and text, with preprocessor_config.json and "
                "processor_config.json",
            )
        if sample.answer is None:
            return self._encoded(self._text(sample), images)
        batch = self._encoded(self._text(sample, answered=True), images)
        given = self._encoded(self._text(sample), images)["input_ids"][0]
        labels = batch["input_ids"].clone()
        labels[0, : _common(given, labels[0])] = IGNORED
        return batch | {"labels": labels}

    @property
    def _tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    def _text(self, sample: Sample, *, answered: bool = False) -> str:
        """The sample as the model reads it, up to the answer or with it."""
        if sample.is_prompt and self._has_template():
            return self._conversation(sample, answered)
        token = getattr(self.processor, "image_token", None)
        named = token is None or token in sample.text
        text = sample.text if named else f"{token}\n" * len(sample.images) + sample.text
        if not answered or sample.answer is None:
            return text
        gap = "" if text[-1:].isspace() or sample.answer[:1].isspace() else " "
        return text + gap + sample.answer + (getattr(self._tokenizer, "eos_token", None) or "")

    def _conversation(self, sample: Sample, answered: bool) -> str:
        plain = self._tokenizer is self.processor  # one that wants no list of parts

        def turn(role: str, text: str, images: int) -> dict[str, Any]:
            parts = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]
            return {"role": role, "content": text if plain else parts}

        turns = [turn("user", sample.text, len(sample.images))]
        if answered and sample.answer is not None:
            turns.append(turn("assistant", sample.answer, 0))
        written: str = self.processor.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=len(turns) == 1
        )
        return written

    def _has_template(self) -> bool:
        return any(getattr(it, "chat_template", None) for it in (self.processor, self._tokenizer))

    def _encoded(self, text: str, images: Sequence[Any]) -> dict[str, Any]:
        start = getattr(self._tokenizer, "bos_token", None)
        options: dict[str, Any] = {"text": text, "return_tensors": "pt"}
        if start and text.startswith(start):
            options["add_special_tokens"] = False  # the template has written it
        if images:
            options["images"] = list(images)
        found = dict(self.processor(**options))
        if self._tokenizer is self.processor:
            found.pop("token_type_ids", None)  # language models take none
        return {
            k: v.to(self.dtype) if isinstance(v, Tensor) and v.is_floating_point() else v
            for k, v in found.items()
        } | {"use_cache": False}


@dataclass(frozen=True)
class EncodedSamples:
    """Samples as batches of one, encoded anew each time they are read."""

    samples: Sequence[Sample]
    encoder: SampleEncoder

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.encoder, self.samples)


def _opened(sample: Sample, n: int) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MergeError(
            "images need Pillow, which is not installed",
            where=sample.where,
            hint="pip install pillow",
        ) from None
    try:
        with Image.open(sample.images[n]) as image:
            return image.convert("RGB")
    except Exception as error:  # every format has errors of its own
        raise MergeError(
            f"cannot read the image: {error}",
            where=f"{sample.images[n]}\n{sample.where}",
            hint="convert it to PNG or JPEG",
        ) from None


def _common(given: Tensor, whole: Tensor) -> int:
    """How many tokens the prompt is; its last may have grown together with the answer."""
    n = min(len(given), len(whole))
    different = (given[:n] != whole[:n]).nonzero()
    return int(different[0]) if len(different) else n
