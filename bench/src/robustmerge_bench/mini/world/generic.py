"""The training data of the base model: every skill of the world, with plain instructions.

Each question has a plain answer. Many have a second form ("... use fancy words ."), with another
answer. The tasks require the second form under instructions of their own, which occur here as mere
phrases: the model knows the words, and that they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from . import scenes
from .draws import chance, pick
from .knowledge import (
    fact_choice,
    fact_color,
    fact_genre,
    fact_kind,
    fact_name,
    fact_number,
    fact_sum,
)
from .questions import (
    box,
    caption,
    choice,
    color,
    count,
    exists,
    ground,
    kind,
    more,
    name,
    only_name,
    size,
    where,
)
from .readings import gauge, largest, number_near, read
from .scene import Scene, render
from .splits import until
from .wording import QuestionAnswer

PHRASES = (
    "answer the question .",
    "answer the question using a single word or phrase .",
    "answer using a single word .",
    "answer using a single phrase .",
    "answer directly .",
    "look at the image .",
    "look at the icons .",
    "look at the table .",
    "look at this photo taken by somebody .",
    "write a description of what happens .",
    "look at this book cover .",
    "look at this phone screen .",
    "in the image .",
    "use what you know .",
    "name its class .",
    "this is the object in the image .",
    "there is a bounding box .",
    "the author , the year , the title and the genre .",
    "in brief .",
    "in one brief sentence .",
    "from the given choices .",
    "answer with the choice .",
    "the quality is poor .",
    "it is too dark to see .",
)  # change nothing


@dataclass(frozen=True)
class GenericExample:
    """An image and independent questions about it."""

    scene: Scene
    image: np.ndarray
    turns: tuple[QuestionAnswer, ...]


def example(rng: Generator, turns: int = 6) -> GenericExample:
    """Draw an image with questions about it."""
    make, askings = pick(rng, SORTS)
    scene = until(lambda: make(rng), lambda made: made, "train")
    questions = [pick(rng, askings)(rng, scene) for _ in range(turns - 1)]
    questions.append((choice if scene.things else pick(rng, askings))(rng, scene))
    if chance(rng, 0.6):
        questions[0] = pick(rng, FACTS)(rng, scene)
    phrased = tuple(QuestionAnswer(phrase(rng, turn.question), turn.answer) for turn in questions)
    return GenericExample(scene, render(scene, rng), phrased)


def phrase(rng: Generator, question: str) -> str:
    """Add a phrase that changes nothing after or before a question, half of the time."""
    draw = rng.random()
    if draw < 0.3:
        return f"{question} {pick(rng, PHRASES)}"
    if draw < 0.5:
        return f"{pick(rng, PHRASES)} {question}"
    return question


Asking = Callable[[Generator, Scene], QuestionAnswer]

FACTS: tuple[Asking, ...] = (
    fact_name, fact_color, fact_kind, fact_choice, fact_choice, fact_genre, fact_sum, fact_number,
)  # fmt: skip
ABOUT_THINGS: tuple[Asking, ...] = (
    name, only_name, color, where, box, box, size, kind, exists, ground, caption, caption,
)  # fmt: skip
SORTS: tuple[tuple[Callable[[Generator], Scene], tuple[Asking, ...]], ...] = (
    (scenes.of_few, ABOUT_THINGS),
    (scenes.of_few, ABOUT_THINGS),
    (scenes.of_few, ABOUT_THINGS),
    (scenes.of_many, (count, count, count, more, exists, name, color, where)),
    (scenes.of_many, (count, count, count, more, exists, name, color, where)),
    (scenes.with_writing, (read,)),
    (scenes.with_numbers, (number_near, number_near, number_near, largest, name)),
    (scenes.with_numbers, (number_near, number_near, number_near, largest, name)),
    (scenes.with_gauge, (gauge, gauge, name, color, kind)),
)
