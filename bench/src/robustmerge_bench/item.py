"""A question about a picture: what every benchmark task is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Item:
    """One question about one picture.

    Attributes:
        task: Short name of the task, such as "sqa".
        kind: The sort of question within the task.
        image: uint8 [height, width, 3].
        prompt: The question with its instruction.
        answer: What an expert is trained to say.
        references: What counts as right.
    """

    task: str
    kind: str
    image: np.ndarray
    prompt: str
    answer: str
    references: tuple[str, ...]
