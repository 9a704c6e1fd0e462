"""The class of a picture, as an answer like any other: the row of the head nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..answering.engine import Asked
from ..answering.images import opened
from .model import Clip
from .templates import sentences


class Classifier:
    """CLIP on one task.

    Attributes:
        names: What the classes are called.
        window: Pictures that it takes at once.
    """

    def __init__(self, clip: Clip, task: str, names: Sequence[str], *, window: int = 64) -> None:
        """Make the head.

        Args:
            clip: The base, with an adapter on or not: the text encoder is the same.
            task: Name of the task, which has sentences of its own.
            names: What the classes are called.
            window: Pictures that it takes at once.
        """
        self.names = tuple(names)
        self.window = window
        self._clip = clip
        self._head = clip.head([sentences(task, name) for name in names])

    @torch.inference_mode()
    def answer(self, questions: Sequence[Asked]) -> list[str]:
        """The class of each question's picture.

        Raises:
            MergeError: A question has no picture, or one that cannot be read.
        """
        pictures = [opened(one.image, one.where) for one in questions]
        best = self._clip.logits(self._clip.pixels(pictures), self._head).argmax(dim=1)
        return [self.names[row] for row in best.tolist()]

    def facts(self) -> Mapping[str, Any]:
        """What is to be recorded of it."""
        return {"engine": "clip", "classes": len(self.names), "dtype": str(self._clip.model.dtype)}
