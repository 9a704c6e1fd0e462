"""The second gate: whether the base sees more than a guess does, on most of the tasks.

Chance is that of guessing among the options where there are few. Elsewhere it is what the same
model scores on the same questions about wrong images, each that of the next item: it knows what
answers look like, and how often each is right, but does not see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..item import Item
from ..mini.ranking.gates import Gate
from ..mini.runs.world import WorldModel
from .tasks import ImageTask

WANTED = 9
"""Tasks on which zero-shot is to be above chance."""

CERTAIN = 1.645
"""Standard errors above chance that count: 95%, one-sided."""


@dataclass(frozen=True)
class ZeroShotScore:
    """What the base scores on a task.

    Attributes:
        chance: The score of guessing.
        above: Whether the score is above it by more than an accident.
    """

    task: str
    score: float
    chance: float
    above: bool

    def __str__(self) -> str:
        return f"{self.task} {self.score:.1f} ({self.chance:.1f})"


def check_zero_shot(model: WorldModel, tasks: Mapping[str, ImageTask], count: int = 100) -> Gate:
    """Check the base on test items of every task; 100 of each take some 4 minutes of one core."""
    scores = [score_without_training(model, task, count) for task in tasks.values()]
    passed = [each for each in scores if each.above]
    failed = [each for each in scores if not each.above]
    listed = "; ".join(
        f"{name}: {', '.join(map(str, some))}"
        for name, some in (("above", passed), ("not", failed))
        if some
    )
    return Gate(
        "zero-shot sees",
        f"above chance (in parentheses) on {WANTED} of {len(scores)} tasks",
        f"{len(passed)} of {len(scores)}, {count} items each; {listed}",
        len(passed) >= WANTED,
    )


def score_without_training(model: WorldModel, task: ImageTask, count: int) -> ZeroShotScore:
    """Score the base on a task, and compare it with chance, item by item."""
    items = task.items("test", count)
    scores = task.score(model.answer(items), items)
    options = task.about.chance
    if options is None:
        guesses = task.score(model.answer(with_wrong_images(items)), items)
    else:
        guesses = np.full(count, options)
    return ZeroShotScore(
        task.name, float(scores.mean()), float(guesses.mean()), is_above(scores - guesses)
    )


def with_wrong_images(items: Sequence[Item]) -> list[Item]:
    """Return the items, each with the image of the next."""
    others = [*items[1:], *items[:1]]
    return [replace(item, image=other.image) for item, other in zip(items, others, strict=True)]


def is_above(differences: np.ndarray) -> bool:
    """Return whether the mean of differences [n] is above 0 by more than an accident."""
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) > CERTAIN * error
