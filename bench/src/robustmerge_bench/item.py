"""An item of a benchmark task: a question about an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
