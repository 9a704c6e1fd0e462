"""The class of a picture, as an answer like any other: the row of the head nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import peft
import torch
import transformers
from jaxtyping import Float
from torch import Tensor

from ....errors import MergeError
from ..answering.engine import Asked
from ..answering.images import opened
from ..answering.options import Options
from .model import Clip
from .templates import sentences


class Classifier:
    """CLIP with an adapter, asked for the class of pictures.

    Attributes:
        window: Pictures that it takes at once.
    """

    def __init__(self, base: str, adapter: str | None, options: Options) -> None:
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
        self.window = options.batch
        self._clip = Clip.load(base, device=options.device, dtype=dtype)
        if adapter is not None:
            self._clip.wear(adapter)
        self._readers = ThreadPoolExecutor(options.workers)
        self._heads: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    @torch.inference_mode()
    def answer(self, questions: Sequence[Asked]) -> list[str]:
        """The class of each question's picture, among the question's choices.

        Raises:
            MergeError: A picture cannot be read.
        """
        pixels = torch.cat(list(self._readers.map(self._pixels, questions)))
        features = self._clip.features(pixels)
        return [
            one.choices[int((self._head(one) @ row).argmax())]
            for one, row in zip(questions, features, strict=True)
        ]

    def facts(self) -> Mapping[str, Any]:
        """Where and by what the answers are made."""
        device = self._clip.device
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "batch": self.window,
            "adapter": "beside the weights",
            "pictures": "as CLIP's processor crops them",
            "versions": {one.__name__: one.__version__ for one in (torch, transformers, peft)},
        }

    def _pixels(self, question: Asked) -> Float[Tensor, "1 3 height width"]:
        assert question.image is not None  # as every task says that asks for classes
        return self._clip.pixels([opened(question.image, question.where)])

    def _head(self, question: Asked) -> Float[Tensor, "classes dim"]:
        key = question.task, question.choices
        if key not in self._heads:
            self._heads[key] = self._clip.head([sentences(key[0], name) for name in key[1]])
        return self._heads[key]
