"""An item of a benchmark task: a question about an image."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator


@dataclass(frozen=True)
class Item:
    """A question about an image.

    Attributes:
        task: Short name of the task, such as "sqa".
        kind: The kind of question within the task.
        image: uint8 [height, width, 3].
        prompt: The question with its instruction.
        answer: The answer that an expert is trained on.
        references: The right answers.
    """

    task: str
    kind: str
    image: np.ndarray
    prompt: str
    answer: str
    references: tuple[str, ...]


def item_generator(task: str, split: int, seed: int) -> Generator:
    """Return the source of a task's items, which does not depend on how many are drawn."""
    return np.random.default_rng([seed, split, zlib.crc32(task.encode())])


def score_answers(
    scorer: Callable[[str, tuple[str, ...]], float], answers: Sequence[str], items: Sequence[Item]
) -> np.ndarray:
    """Score each answer by its item's references: float64 [n], 0 to 100."""
    pairs = zip(answers, items, strict=True)
    return np.array([scorer(answer, item.references) for answer, item in pairs])
