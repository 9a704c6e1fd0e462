"""A task as data, and its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ...item import Item, item_generator, score_answers
from ..images.arrange import Arrangement
from ..images.splits import SPLITS, Split, split_of_content
from .pool import Pool


@dataclass(frozen=True)
class ImageQuestion:
    """An arrangement and a question about it.

    Attributes:
        kind: The sort of question within the task.
        scene: The content of the image.
        question: The question with the task's instruction.
        answer: The answer that experts are trained on.
        references: The right answers; by default the answer alone.
        own_split: The things are themselves of one split, as photographs are, so that the scene's
            content does not decide it.
    """

    kind: str
    scene: Arrangement
    question: str
    answer: str
    references: tuple[str, ...] = ()
    own_split: bool = False


@dataclass(frozen=True)
class TaskKind:
    """A task without its pictures.

    Attributes:
        name: Short name.
        title: The dataset of the paper's benchmark that it stands for.
        seen: Whether an expert is trained on it.
        metric: Name of the scorer.
        scorer: An answer and its references -> 0 .. 100.
        chance: The score of guessing among the options; None where there are no few options.
        draw: Draws one question on pictures of a split; the scene may still be of another.
    """

    name: str
    title: str
    seen: bool
    metric: str
    scorer: Callable[[str, tuple[str, ...]], float]
    chance: float | None
    draw: Callable[[Generator, Pool, Split], ImageQuestion]


@dataclass(frozen=True)
class ImageTask:
    """A task on the pictures of a pool."""

    about: TaskKind
    pool: Pool

    @property
    def name(self) -> str:
        """Short name."""
        return self.about.name

    @property
    def seen(self) -> bool:
        """Whether an expert is trained on it."""
        return self.about.seen

    def items(self, split: Split, count: int, seed: int = 0) -> list[Item]:
        """Draw items of a split; the first of them are the same for every count."""
        rng = item_generator(self.name, SPLITS.index(split), seed)
        return [draw_item(rng, self.about.draw, self.pool, split, self.name) for _ in range(count)]

    def score(self, answers: Sequence[str], items: Sequence[Item]) -> np.ndarray:
        """Score each answer: float64 [n], 0 to 100."""
        return score_answers(self.about.scorer, answers, items)


def draw_item(
    rng: Generator,
    draw: Callable[[Generator, Pool, Split], ImageQuestion],
    pool: Pool,
    split: Split,
    task: str,
) -> Item:
    """Draw one item on a scene of the split."""
    return draw_items(rng, lambda *of: [draw(*of)], pool, split, task)[0]


def draw_items(
    rng: Generator,
    draw: Callable[[Generator, Pool, Split], Sequence[ImageQuestion]],
    pool: Pool,
    split: Split,
    task: str,
) -> list[Item]:
    """Draw questions about one scene, which is of the split."""
    while True:
        drawn = draw(rng, pool, split)
        scene = drawn[0].scene
        if drawn[0].own_split or split_of_content(scene.content) == split:
            break
    image = scene.render(rng)
    return [
        Item(task, each.kind, image, each.question, each.answer, each.references or (each.answer,))
        for each in drawn
    ]
