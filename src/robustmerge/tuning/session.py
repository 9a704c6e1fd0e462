"""A base model in memory, with one adapter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from peft import PeftModel
from torch import Tensor

from ..adapter.reader import Adapter
from ..collect.encode import SampleEncoder
from ..collect.load import attach_adapters, enough_device_memory, load_base, load_processor
from ..collect.processor import ModelProcessor
from ..collect.samples import Sample
from ..errors import MergeError
from ..polish.batches import answer_logits
from ..prompted.answers import AnsweredPrompt, greedy
from ..threads import parse_device

NAME = "merged"
"""The adapter's name in the model."""
AT_ONCE = 8
"""Sequences that are run together."""
_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_HINT = "--measure NAME:precision=bfloat16, shorter samples or smaller images, or --device cpu"


class ModelSession:
    """A base model that is loaded once, whatever the number of adapters."""

    def __init__(self, base: str, device: str, settings: Mapping[str, str]) -> None:
        """Load the base.

        Args:
            base: Its folder or Hub id.
            device: Where it runs.
            settings: `precision`, the type it runs in, and `longest`, tokens of an answer.

        Raises:
            MergeError: the base cannot be loaded, or a setting is not possible.
        """
        if settings["precision"] not in _TYPES or not settings["longest"].isdecimal():
            raise MergeError(
                f"impossible settings: {dict(settings)}",
                where="--measure",
                hint="precision=float32 or bfloat16, longest=128",
            )
        self.base, self.longest = base, int(settings["longest"])
        self.device, dtype = parse_device(device), _TYPES[settings["precision"]]
        self._processor = load_processor(base)
        self.encoder = SampleEncoder(self._processor, dtype)
        self._model = load_base(base, dtype).to(self.device).eval()

    @contextmanager
    def using(self, folder: str | Path) -> Iterator[PeftModel]:
        """Attach an adapter for the length of a block, with its fully trained parameters.

        Raises:
            MergeError: the adapter does not fit the base, or the device is out of memory.
        """
        adapter = Adapter(str(folder))
        model: PeftModel | None = None
        try:
            with enough_device_memory(self.device, _HINT), catch_warnings():
                simplefilter("ignore", FutureWarning)  # between PEFT and transformers
                model = attach_adapters(self._model, self.base, [adapter], [NAME])
                yield model.to(self.device).eval()
        finally:
            adapter.close()
            if model is not None:
                self._model = model.unload()

    def logits(self, model: PeftModel, prompts: Sequence[AnsweredPrompt]) -> list[Tensor]:
        """Return every prompt's logits at its answer positions, of prompts that go together."""
        return answer_logits(model, prompts, self.device)

    @contextmanager
    def answering(self, folder: Path) -> Iterator[Callable[[Sample], str]]:
        """Attach an adapter for the length of a block; yield what answers a sample, greedily."""
        tokenizer: Any = ModelProcessor(self._processor).tokenizer
        with self.using(folder) as model:

            def answer(sample: Sample) -> str:
                inputs = self.encoder(replace(sample, answer=None))
                tokens = greedy(model, inputs, self.longest)
                return str(tokenizer.decode(tokens, skip_special_tokens=True))

            yield answer
