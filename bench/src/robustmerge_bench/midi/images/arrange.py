"""Things on a ground: where each of them is, and how the image looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from .compose import COLORS, SIDE, Box
from .pieces import Depiction

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
"""Cells of a grid of two rows and two columns, row by row."""


@dataclass(frozen=True)
class Placed:
    """A thing and its box."""

    depiction: Depiction
    box: Box


@dataclass(frozen=True)
class Arrangement:
    """The content of an image.

    Attributes:
        things: From the first cell to the last.
        ground: Its color, by name.
        look: What is done to the image: a key of LOOKS.
    """

    things: tuple[Placed, ...]
    ground: str
    look: str = "plain"

    @property
    def content(self) -> tuple[str, ...]:
        """What is shown, wherever it is: this decides the split."""
        return (self.ground, *sorted(self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """The words for the things, in their order."""
        return tuple(placed.depiction.name for placed in self.things)

    def render(self, rng: Generator) -> np.ndarray:
        """Return the image: uint8 [224, 224, 3]. Only looks with noise use the random numbers."""
        image = Image.new("RGB", (SIDE, SIDE), COLORS[self.ground])
        for placed in self.things:
            left, top, right, _ = placed.box
            picture = placed.depiction.draw(right - left)
            image.paste(picture, (left, top), picture)
        return np.asarray(LOOKS[self.look](image, rng))


def in_grid(
    rng: Generator, things: Sequence[Depiction], columns: int, rows: int, cells: Sequence[int]
) -> tuple[Placed, ...]:
    """Put each thing into a cell of a grid, row by row, at a random size and place in the cell."""
    side = SIDE // max(columns, rows)
    width, height = SIDE // columns, SIDE // rows
    placed = []
    for thing, cell in zip(things, cells, strict=True):
        size = int(rng.integers(round(0.6 * side), round(0.95 * side)))
        left = cell % columns * width + int(rng.integers(0, width - size + 1))
        top = cell // columns * height + int(rng.integers(0, height - size + 1))
        placed.append(Placed(thing, (left, top, left + size, top + size)))
    return tuple(placed)


def _blur(image: Image.Image, rng: Generator) -> Image.Image:
    del rng
    return image.filter(ImageFilter.GaussianBlur(4))


def _hide(image: Image.Image, rng: Generator) -> Image.Image:
    del rng
    return image.filter(ImageFilter.GaussianBlur(40))


def _darken(image: Image.Image, rng: Generator) -> Image.Image:
    del rng
    return image.point(lambda value: value // 4)


def _add_noise(image: Image.Image, rng: Generator) -> Image.Image:
    noisy = np.asarray(image) + rng.normal(0, 40, (SIDE, SIDE, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _turn(image: Image.Image, rng: Generator) -> Image.Image:
    return image.rotate(float(rng.uniform(20, 60)), fillcolor=(0, 0, 0))


def _gray(image: Image.Image, rng: Generator) -> Image.Image:
    del rng
    return image.convert("L").convert("RGB")


LOOKS: Mapping[str, Callable[[Image.Image, Generator], Image.Image]] = {
    "plain": lambda image, rng: image,
    "blurred": _blur,
    "dark": _darken,
    "noisy": _add_noise,
    "turned": _turn,
    "gray": _gray,
    "unreadable": _hide,
}
"""What can be done to an image, by name."""
