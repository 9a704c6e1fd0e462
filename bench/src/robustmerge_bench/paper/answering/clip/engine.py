"""The class of a picture, as an answer like any other: the row of the head nearest to it.

Pictures are read by threads, which are ahead of the model within a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import peft
import torch
import transformers
from jaxtyping import Float
from torch import Tensor

from robustmerge.errors import MergeError

from ..engine import Request
from ..images import opened
from ..options import AnsweringOptions
from .model import ClipModel
from .templates import sentences

_BATCHES = 8


class ClipEngine:
    """CLIP with an adapter, asked for the class of pictures.

    Attributes:
        batch: Pictures at a time.
        window: Pictures that are read ahead.
    """

    def __init__(self, base: str, adapter: str | None, options: AnsweringOptions) -> None:
        """Load the model.

        Args:
            base: Folder or Hub id.
            adapter: Folder or Hub id; None for the base alone.
            options: How it is to answer; of these, engine, device, dtype, batch and workers.

        Raises:
            MergeError: The base or the adapter cannot be loaded.
        """
        if options.engine == "server":
            raise MergeError(
                "CLIP answers in this process only", where="--engine server", hint="leave it out"
            )
        dtype = getattr(torch, options.dtype_for(llava_15=False, clip=True))
        self.batch, self.window = options.batch, options.batch * _BATCHES
        self._clip = ClipModel.load(base, device=options.device, dtype=dtype)
        if adapter is not None:
            self._clip.wear(adapter)
        self._readers = ThreadPoolExecutor(options.workers)
        self._heads: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    @torch.inference_mode()
    def answer(self, questions: Sequence[Request]) -> list[str]:
        """The class of each question's picture, among the question's choices.

        Raises:
            MergeError: A picture cannot be read.
        """
        pixels = self._readers.map(self._pixels, questions)
        answers: list[str] = []
        while some := questions[len(answers) : len(answers) + self.batch]:
            features = self._clip.features(torch.cat(list(islice(pixels, len(some)))))
            answers += [
                one.choices[int((self._head(one) @ row).argmax())]
                for one, row in zip(some, features, strict=True)
            ]
        return answers

    def facts(self) -> Mapping[str, Any]:
        """Where and by what the answers are made."""
        device = self._clip.device
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "batch": self.batch,
            "adapter": "beside the weights",
            "pictures": "as CLIP's processor crops them",
            "versions": {one.__name__: one.__version__ for one in (torch, transformers, peft)},
        }

    def _pixels(self, question: Request) -> Float[Tensor, "1 3 height width"]:
        assert question.image is not None  # as every task says that asks for classes
        return self._clip.pixels([opened(question.image, question.where)])

    def _head(self, question: Request) -> Float[Tensor, "classes dim"]:
        key = question.task, question.choices
        if key not in self._heads:
            self._heads[key] = self._clip.head([sentences(key[0], name) for name in key[1]])
        return self._heads[key]
