"""Samples as inputs of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import MergeError
from .gradients import IGNORED
from .model import Batch
from .processor import ModelProcessor, open_image, processor_errors
from .samples import Sample


@dataclass(frozen=True)
class SampleEncoder:
    """A processor or tokenizer of transformers.

    Attributes:
        processor: The object that transformers loads.
        dtype: The model's type, which pixels are converted to.
    """

    processor: Any
    dtype: torch.dtype

    def __call__(self, sample: Sample) -> dict[str, Any]:
        """Return a batch of one sample; with labels where it has an answer.

        Raises:
            MergeError: The model takes no images, or the processor refuses the sample.
        """
        with processor_errors(
            "the sample",
            sample.where,
            "a text with images must name each by the model's image token; a prompt "
            "gets them from the chat template",
        ):
            return self._batch(sample)

    @property
    def _model(self) -> ModelProcessor:
        return ModelProcessor(self.processor)

    def _batch(self, sample: Sample) -> dict[str, Any]:
        images = [open_image(path, sample.where) for path in sample.images]
        if images and not self._model.takes_images:
            raise MergeError(
                "the base has no processor for images",
                where=sample.where,
                hint="--base is a model of images and text, with preprocessor_config.json and "
                "processor_config.json",
            )
        if sample.answer is None:
            return self._encode(self._text(sample), images)
        batch = self._encode(self._text(sample, answered=True), images)
        prompt = self._encode(self._text(sample), images)["input_ids"][0]
        labels = batch["input_ids"].clone()  # [1, tokens]
        labels[0, : _common_length(prompt, labels[0])] = IGNORED
        return batch | {"labels": labels}

    def _text(self, sample: Sample, *, answered: bool = False) -> str:
        """Return the sample as the model reads it, up to the answer or with it."""
        if sample.is_prompt and self._model.has_template:
            return self._conversation(sample, answered)
        token = getattr(self.processor, "image_token", None)
        named = token is None or token in sample.text
        text = sample.text if named else f"{token}\n" * len(sample.images) + sample.text
        if not answered or sample.answer is None:
            return text
        gap = "" if text[-1:].isspace() or sample.answer[:1].isspace() else " "
        end = getattr(self._model.tokenizer, "eos_token", None) or ""
        return text + gap + sample.answer + end

    def _conversation(self, sample: Sample, answered: bool) -> str:
        turns = [self._model.turn("user", sample.text, len(sample.images))]
        if answered and sample.answer is not None:
            turns.append(self._model.turn("assistant", sample.answer))
        return self._model.render(turns, ask=len(turns) == 1)

    def _encode(self, text: str, images: Sequence[Any]) -> dict[str, Any]:
        inputs = self._model.encode(text, images)
        if not self._model.takes_images:
            inputs.pop("token_type_ids", None)  # language models take none
        return {
            name: value.to(self.dtype)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in inputs.items()
        } | {"use_cache": False}


@dataclass(frozen=True)
class EncodedSamples:
    """Samples as batches of one, encoded again each time they are read."""

    samples: Sequence[Sample]
    encoder: SampleEncoder

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.encoder, self.samples)


def _common_length(prompt: Tensor, whole: Tensor) -> int:
    """Return how many tokens the prompt has; its last may have grown together with the answer."""
    n = min(len(prompt), len(whole))
    different = (prompt[:n] != whole[:n]).nonzero()
    return int(different[0]) if len(different) else n
