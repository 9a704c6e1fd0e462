"""A model in this process, by transformers and PEFT: batched, greedy.

Requests of similar length form batches, padded on the left. The attention mask hides the padding:
in float32 an answer does not depend on the batch. In half precision sums are rounded differently
for other shapes, and where two tokens are about equally likely the answer may change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Any

import peft
import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig

from robustmerge.collect.load import load_processor
from robustmerge.errors import MergeError, first_line

from ..engine import PromptFormat, Request
from ..family import is_llava_15
from .attach import folds, load
from .encode import RequestEncoder

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_BATCHES = 4  # of a window


class LocalEngine:
    """A model in this process, with an adapter or without.

    Attributes:
        batch: Requests at a time; halved when the device's memory is too small.
        window: Requests among which those of similar length are put together.
    """

    def __init__(
        self,
        base: str,
        adapter: str | None,
        *,
        settings: Mapping[str, Any],
        prompt: PromptFormat,
        device: str,
        dtype: str,
        batch: int,
    ) -> None:
        self._device, self._dtype = _find_device(device), DTYPES[dtype]
        self.batch, self.window = batch, batch * _BATCHES
        # The tokenizer is not thread-safe. One thread encodes the next batch meanwhile.
        self._encoder_thread = ThreadPoolExecutor(1)
        processor = _load_processor(base)
        if prompt == "chat-template" and not processor.chat_template:
            raise MergeError(
                "the base has no chat template",
                where=base,
                hint="use a model tuned on instructions; for LLaVA-1.5, --prompt vicuna",
            )
        self.model = load(base, adapter, device=self._device, dtype=self._dtype)
        self._tokenizer = processor.tokenizer
        self._encode = RequestEncoder(processor, self.model.config, prompt, is_llava_15(settings))
        self.model.generation_config = self._greedy(self.model.generation_config)

    def facts(self) -> Mapping[str, Any]:
        """Return device, batch and versions."""
        return {
            "device": device_name(self._device),
            "batch": self.batch,
            "adapter": "added to the weights" if folds(self._dtype) else "beside the weights",
            "pictures": "as the task's script" if self._encode.frames else "as they are",
            "versions": library_versions(),
        }

    def answer(self, requests: Sequence[Request]) -> list[str]:
        """Return the answers in the requests' order."""
        answers = [""] * len(requests)
        batches = list(_batches(requests, self.batch))
        ahead = self._encode_ahead(requests, batches[0]) if batches else None
        for number, indices in enumerate(batches):
            assert ahead is not None
            inputs = ahead.result()
            if number + 1 < len(batches):
                ahead = self._encode_ahead(requests, batches[number + 1])
            tokens = self._tokens([requests[n] for n in indices], inputs)
            texts = self._encoder_thread.submit(self._texts, tokens).result()
            for index, text in zip(indices, texts, strict=True):
                answers[index] = text
        return answers

    def _encode_ahead(
        self, requests: Sequence[Request], indices: Sequence[int]
    ) -> Future[dict[str, Tensor]]:
        return self._encoder_thread.submit(self._encode, [requests[n] for n in indices])

    def _tokens(self, requests: Sequence[Request], inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the answers' tokens, by halves where the memory does not suffice for all."""
        try:
            return self._generate(inputs, requests[0].max_new_tokens)
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            reason = first_line(error)
        if len(requests) == 1:
            raise MergeError(
                f"the device is out of memory for a single question: {reason}",
                where=requests[0].location,
                hint="--dtype float16 or bfloat16, or a larger device",
            )
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        half = (len(requests) + 1) // 2
        self.batch = min(self.batch, half)
        parts = (requests[:half], requests[half:])
        return [row for part in parts for row in self._tokens_again(part)]

    def _tokens_again(self, requests: Sequence[Request]) -> list[Tensor]:
        inputs = self._encode_ahead(requests, range(len(requests))).result()
        return self._tokens(requests, inputs)

    @torch.inference_mode()
    def _generate(self, inputs: Mapping[str, Tensor], most: int) -> list[Tensor]:
        moved = {
            name: tensor.to(self._device, self._dtype if tensor.is_floating_point() else None)
            for name, tensor in inputs.items()
        }
        tokens: Tensor = self.model.generate(**moved, max_new_tokens=most)
        # [batch, prompt + answer] -> [batch, answer]
        return [self._cut_at_end(row) for row in tokens[:, moved["input_ids"].shape[1] :].cpu()]

    def _cut_at_end(self, row: Tensor) -> Tensor:
        """Return the tokens up to the end, after which the batch's other answers go on."""
        ends = torch.tensor(self.model.generation_config.eos_token_id)
        over = torch.isin(row, ends).nonzero()
        return row[: int(over[0])] if len(over) else row

    def _texts(self, tokens: Sequence[Tensor]) -> list[str]:
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        end = self._tokenizer.eos_token or ""
        return [text.strip().removesuffix(end).strip() for text in texts]

    def _greedy(self, config: GenerationConfig) -> GenerationConfig:
        """Return settings for greedy decoding, whatever else the model's own settings are."""
        ends = config.eos_token_id
        ends = list(ends) if isinstance(ends, list | tuple) else [ends]
        ends = {end for end in [*ends, self._tokenizer.eos_token_id] if end is not None}
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=sorted(ends),
            pad_token_id=self._tokenizer.pad_token_id,
            bos_token_id=self._tokenizer.bos_token_id,
        )


def device_name(device: torch.device) -> str:
    """Return the model of a GPU, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that run the model."""
    return {library.__name__: library.__version__ for library in (torch, transformers, peft)}


def _find_device(name: str) -> torch.device:
    """Return the device of this name, or raise an error where there is none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MergeError(
            f"no device {name!r} here: {first_line(error):.200}",
            where=f"--device {name}",
            hint="such as cpu, cuda or cuda:1",
        ) from None


def _load_processor(base: str) -> Any:
    processor = load_processor(base)
    if getattr(processor, "image_processor", None) and getattr(processor, "tokenizer", None):
        return processor
    raise MergeError(
        "the base has no processor for images that can be loaded",
        where=base,
        hint="--base is a model of images and text, with preprocessor_config.json; some need a "
        "newer transformers",
    )


def _batches(requests: Sequence[Request], size: int) -> Iterator[list[int]]:
    """Yield indices of requests that go together: with an image or without, of similar length."""

    def group(index: int) -> tuple[bool, int]:
        return requests[index].image is None, requests[index].max_new_tokens

    def key(index: int) -> tuple[bool, int, int]:
        return *group(index), len(requests[index].text)

    for _, indices in groupby(sorted(range(len(requests)), key=key), key=group):
        together = list(indices)
        yield from (together[n : n + size] for n in range(0, len(together), size))
