"""The two questions that image and language are joined with: what an image shows, what it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from numpy.random import Generator

from ...item import Item
from .compose import COLORS, LIGHT, Composed, compose_drawings, compose_number
from .pieces import Depiction
from .splits import Split, split_of_content

CAPTION, NUMBER = "caption", "number"
DESCRIBE, READ = "Describe the picture.", "Read the number."


def ask_for_caption(image: Composed) -> Item:
    """Ask for a sentence on the drawings."""
    answer = image.caption[0].upper() + image.caption[1:]
    return Item(CAPTION, CAPTION, image.pixels, DESCRIBE, answer, (answer,))


def ask_for_number(image: Composed) -> Item:
    """Ask for the digits."""
    return Item(NUMBER, NUMBER, image.pixels, READ, image.number, (image.number,))


def draw_drawings(
    rng: Generator, drawings: Sequence[Depiction], split: Split = "train"
) -> Composed:
    """Compose an image of one or two drawings, of a split."""
    return _until(lambda: compose_drawings(rng, drawings, int(rng.integers(1, 3))), split)


def draw_icons(rng: Generator, icons: Sequence[Depiction], split: Split = "train") -> Composed:
    """Compose an image of one or two dark icons on a light ground, of a split."""
    return _until(lambda: compose_drawings(rng, icons, int(rng.integers(1, 3)), LIGHT), split)


def draw_number(
    rng: Generator, fonts: Sequence[Path], split: Split = "train", digits: int = 3
) -> Composed:
    """Write a number of a split: a number of the tests is in no image of the training."""
    return _until(lambda: compose_number(rng, fonts, digits), split)


def _until(draw: Callable[[], Composed], split: Split) -> Composed:
    while split_of_content((image := draw()).content) != split:
        pass
    return image


def blind_caption_floor(drawings: int) -> float:
    """Return the nats a caption that a model reaches at best which does not see the image.

    It knows the sentences and how often each is right: one drawing or an ordered pair of different
    ones, each with one ground. Which of them are of the test split it does not know.
    """
    single = math.log(2 * drawings * len(COLORS))
    pair = math.log(2 * drawings * (drawings - 1) * len(COLORS))
    return (single + pair) / 2


def blind_number_floor(digits: int = 3) -> float:
    """Return the same of a number, nats."""
    return digits * math.log(10)
