"""Classification as answering: the answer is the class whose row of the head is nearest.

Threads read images ahead of the model, within a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from robustmerge.collect.processor import open_image
from robustmerge.errors import MergeError

from ..engine import Request
from ..engines.live import device_name, library_versions
from ..options import AnsweringOptions
from .model import ClipModel
from .templates import sentences

_BATCHES = 8  # of a window


class ClipEngine:
    """CLIP with an adapter, as a classifier.

    Attributes:
        batch: Images at a time.
        window: Images that are read ahead.
    """

    def __init__(self, base: str, adapter: str | None, options: AnsweringOptions) -> None:
        if options.engine == "server":
            raise MergeError(
                "CLIP answers in this process only", where="--engine server", hint="leave it out"
            )
        dtype = getattr(torch, options.dtype_for(llava_15=False, clip=True))
        self.batch, self.window = options.batch, options.batch * _BATCHES
        self._clip = ClipModel.load(base, device=options.device, dtype=dtype)
        if adapter is not None:
            self._clip.load_adapter(adapter)
        self._readers = ThreadPoolExecutor(options.workers)
        self._heads: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[str]:
        """Return the class of each request's image, among the request's choices."""
        pixels = self._readers.map(self._pixels, requests)
        answers: list[str] = []
        while some := requests[len(answers) : len(answers) + self.batch]:
            features = self._clip.features(torch.cat(list(islice(pixels, len(some)))))
            answers += [
                request.choices[int((self._head(request) @ row).argmax())]
                for request, row in zip(some, features, strict=True)
            ]
        return answers

    def facts(self) -> Mapping[str, Any]:
        """Return device, batch and versions."""
        return {
            "device": device_name(self._clip.device),
            "batch": self.batch,
            "adapter": "beside the weights",
            "pictures": "as CLIP's processor crops them",
            "versions": library_versions(),
        }

    def _pixels(self, request: Request) -> Float[Tensor, "1 3 height width"]:
        assert request.image is not None  # tasks of classes have no questions without
        return self._clip.pixels([open_image(request.image, request.where)])

    def _head(self, request: Request) -> Float[Tensor, "classes dim"]:
        key = request.task, request.choices
        if key not in self._heads:
            self._heads[key] = self._clip.head([sentences(key[0], name) for name in key[1]])
        return self._heads[key]
