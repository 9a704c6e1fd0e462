"""One question of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Item:
    """A question about a picture.

    Attributes:
        task: Name of the task, such as sqa.
        kind: The sort of question within the task.
        image: The picture, uint8 [height, width, 3].
        prompt: Question and instruction.
        answer: What an expert is trained to say.
        references: What counts as right.
    """

    task: str
    kind: str
    image: np.ndarray
    prompt: str
    answer: str
    references: tuple[str, ...]
