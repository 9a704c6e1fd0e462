"""A model in this process, by transformers and PEFT: batched, greedy.

Questions are put into batches of like length, padded on the left, which the attention mask hides:
in float32 an answer does not depend on the batch. In half precision sums are rounded differently
for other shapes, and where two tokens are about equally likely the answer may.
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

from ..engine import Prompt, Request
from ..family import is_llava_15
from .attach import folds, load
from .encode import RequestEncoder

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_BATCHES = 4


class LocalEngine:
    """A model in this process.

    Attributes:
        model: It, with the adapter in it.
        batch: Questions at a time; halved when the device's memory is too small.
        window: Questions among which those of like length are put together.
    """

    def __init__(
        self,
        base: str,
        adapter: str | None,
        *,
        settings: Mapping[str, Any],
        prompt: Prompt,
        device: str,
        dtype: str,
        batch: int,
    ) -> None:
        """Load the model.

        Args:
            base: Folder or Hub id.
            adapter: Folder or Hub id; None for the base alone.
            settings: The base's config.json.
            prompt: How questions are put.
            device: Where it runs.
            dtype: Type it runs in, one of DTYPES.
            batch: Questions at a time.

        Raises:
            MergeError: The base, its processor or the adapter cannot be loaded.
        """
        self._device, self._dtype = _place(device), DTYPES[dtype]
        self.batch, self.window = batch, batch * _BATCHES
        # All tokenizing in one thread: the tokenizer bears no two. It works ahead of the model.
        self._desk = ThreadPoolExecutor(1)
        processor = _processor(base)
        if prompt == "chat-template" and not processor.chat_template:
            raise MergeError(
                "the base has no chat template",
                where=base,
                hint="use a model tuned on instructions; LLaVA-1.5 is asked by --prompt vicuna",
            )
        self.model = load(base, adapter, device=self._device, dtype=self._dtype)
        self._tokenizer = processor.tokenizer
        self._encode = RequestEncoder(processor, self.model.config, prompt, is_llava_15(settings))
        self.model.generation_config = self._greedy(self.model.generation_config)

    def facts(self) -> Mapping[str, Any]:
        """Where and by what the answers are made."""
        cuda = self._device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self._device) if cuda else self._device.type,
            "batch": self.batch,
            "adapter": "added to the weights" if folds(self._dtype) else "beside the weights",
            "pictures": "as the task's script" if self._encode.frames else "as they are",
            "versions": {one.__name__: one.__version__ for one in (torch, transformers, peft)},
        }

    def answer(self, questions: Sequence[Request]) -> list[str]:
        """Answers to these questions, in their order."""
        answers = [""] * len(questions)
        batches = list(_batches(questions, self.batch))
        ahead = self._encoded(questions, batches[0]) if batches else None
        for number, places in enumerate(batches):
            assert ahead is not None
            inputs = ahead.result()
            if number + 1 < len(batches):
                ahead = self._encoded(questions, batches[number + 1])
            tokens = self._tokens([questions[n] for n in places], inputs)
            texts = self._desk.submit(self._texts, tokens).result()
            for place, text in zip(places, texts, strict=True):
                answers[place] = text
        return answers

    def _encoded(
        self, questions: Sequence[Request], places: Sequence[int]
    ) -> Future[dict[str, Tensor]]:
        return self._desk.submit(self._encode, [questions[n] for n in places])

    def _tokens(self, questions: Sequence[Request], inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The answers' tokens, by halves where the memory does not suffice for all."""
        try:
            return self._generated(inputs, questions[0].max_new_tokens)
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            reason = first_line(error)
        if len(questions) == 1:
            raise MergeError(
                f"the device is out of memory for a single question: {reason}",
                where=f"{questions[0].where}, question {questions[0].id}",
                hint="--dtype float16 or bfloat16, or a larger device",
            )
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        half = (len(questions) + 1) // 2
        self.batch = min(self.batch, half)
        parts = (questions[:half], questions[half:])
        return [row for part in parts for row in self._again(part)]

    def _again(self, questions: Sequence[Request]) -> list[Tensor]:
        inputs = self._encoded(questions, range(len(questions))).result()
        return self._tokens(questions, inputs)

    @torch.inference_mode()
    def _generated(self, inputs: Mapping[str, Tensor], most: int) -> list[Tensor]:
        given = {
            name: one.to(self._device, self._dtype if one.is_floating_point() else None)
            for name, one in inputs.items()
        }
        made: Tensor = self.model.generate(**given, max_new_tokens=most)
        return [self._answered(row) for row in made[:, given["input_ids"].shape[1] :].cpu()]

    def _answered(self, row: Tensor) -> Tensor:
        """Tokens up to the end, after which a batch goes on for the sake of others."""
        ends = torch.tensor(self.model.generation_config.eos_token_id)
        over = torch.isin(row, ends).nonzero()
        return row[: int(over[0])] if len(over) else row

    def _texts(self, tokens: Sequence[Tensor]) -> list[str]:
        found = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        end = self._tokenizer.eos_token or ""
        return [text.strip().removesuffix(end).strip() for text in found]

    def _greedy(self, given: GenerationConfig) -> GenerationConfig:
        """The likeliest token each time, whatever the model's own settings are."""
        ends = given.eos_token_id
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


def _place(name: str) -> torch.device:
    """The device of this name, which must be there."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MergeError(
            f"no device {name!r} here: {first_line(error):.200}",
            where=f"--device {name}",
            hint="such as cpu, cuda or cuda:1",
        ) from None


def _processor(base: str) -> Any:
    processor = load_processor(base)
    if getattr(processor, "image_processor", None) and getattr(processor, "tokenizer", None):
        return processor
    raise MergeError(
        "the base has no processor for pictures that can be loaded",
        where=base,
        hint="--base is a model of pictures and text, with preprocessor_config.json; some need a "
        "newer transformers",
    )


def _batches(questions: Sequence[Request], size: int) -> Iterator[list[int]]:
    """Places of questions that go together: with a picture or without, of like length."""

    def sort(place: int) -> tuple[bool, int]:
        return questions[place].image is None, questions[place].max_new_tokens

    def key(place: int) -> tuple[bool, int, int]:
        return *sort(place), len(questions[place].text)

    for _, places in groupby(sorted(range(len(questions)), key=key), key=sort):
        together = list(places)
        yield from (together[n : n + size] for n in range(0, len(together), size))
