"""A task as data, and its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ...item import Item, item_generator, score_answers
from ..world.scene import Scene, render
from ..world.splits import SPLITS, Split, until


@dataclass(frozen=True)
class TaskDraw:
    """A scene and a question about it.

    Attributes:
        kind: The sort of question within the task.
        scene: The content of the image.
        question: The question with the task's instruction.
        answer: The answer that experts are trained on.
        references: The right answers; by default the answer alone.
    """

    kind: str
    scene: Scene
    question: str
    answer: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class MiniTask:
    """One task of the benchmark.

    Attributes:
        name: Short name.
        title: The dataset of the paper's benchmark that it stands for.
        seen: Whether an expert is trained on it.
        metric: Name of the scorer.
        scorer: An answer and its references -> 0 .. 100.
        chance: The score of guessing in the right format, rounded: one of the options if there are
            any, else the answer to another item of the same kind.
        draw: The function that draws one question.
    """

    name: str
    title: str
    seen: bool
    metric: str
    scorer: Callable[[str, tuple[str, ...]], float]
    chance: float
    draw: Callable[[Generator], TaskDraw]

    def item(self, rng: Generator, split: Split) -> Item:
        """Draw one item on a scene of the split."""
        drawn = until(lambda: self.draw(rng), lambda d: d.scene, split)
        image = render(drawn.scene, rng)
        references = drawn.references or (drawn.answer,)
        return Item(self.name, drawn.kind, image, drawn.question, drawn.answer, references)

    def items(self, split: Split, count: int, seed: int = 0) -> list[Item]:
        """Draw items of a split; the first of them are the same for every count."""
        rng = item_generator(self.name, SPLITS.index(split), seed)
        return [self.item(rng, split) for _ in range(count)]

    def score(self, answers: Sequence[str], items: Sequence[Item]) -> np.ndarray:
        """Score each answer: float64 [n], 0 to 100."""
        return score_answers(self.scorer, answers, items)
