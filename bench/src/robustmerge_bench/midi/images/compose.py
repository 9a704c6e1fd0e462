"""Compose images of drawings and large print on a ground of one color, with the truth of each cell.

The image has 7 x 7 cells of 32 pixels, the tokens of the tower. A cell's truth is the word of what
covers its center, or the color of the ground: words that the language model knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from .pieces import Depiction, load_font

SIDE = 224
GRID = 7
CELL = SIDE // GRID

COLORS: Mapping[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
    "red": (200, 40, 40),
    "green": (50, 150, 60),
    "blue": (50, 80, 190),
    "yellow": (240, 210, 60),
    "orange": (240, 140, 40),
    "pink": (240, 160, 190),
    "brown": (120, 75, 45),
}
"""Colors of grounds, sRGB."""

LIGHT = tuple(name for name, color in COLORS.items() if sum(color) > 3 * 128)
"""Grounds on which dark icons can be seen."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Composed:
    """An image and its truth.

    Attributes:
        pixels: uint8 [224, 224, 3].
        words: The word of each of the 49 cells, row by row.
        ground: The color of the ground.
        things: Names of the drawings with their boxes, or the digits with theirs, left to right.
    """

    pixels: np.ndarray
    words: tuple[str, ...]
    ground: str
    things: tuple[tuple[str, Box], ...]

    @property
    def content(self) -> tuple[str, ...]:
        """What decides the split: the number, or the ground and the drawings in any order."""
        if all(name.isdigit() for name, _ in self.things):
            return (self.number,)
        return (self.ground, *sorted(name for name, _ in self.things))

    @property
    def caption(self) -> str:
        """A sentence on the drawings."""
        names = " and ".join(with_article(name) for name, _ in self.things)
        return f"{names} on a {self.ground} background."

    @property
    def number(self) -> str:
        """The digits in a row."""
        return "".join(name for name, _ in self.things)


def with_article(name: str) -> str:
    """Such as an apple."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def compose_drawings(
    rng: Generator,
    drawings: Sequence[Depiction],
    count: int,
    grounds: Sequence[str] = tuple(COLORS),
) -> Composed:
    """Draw one large thing or two smaller ones next to each other, on one of the grounds."""
    ground = str(rng.choice(list(grounds)))
    image = Image.new("RGB", (SIDE, SIDE), COLORS[ground])
    width = SIDE // count
    things = []
    for number, which in enumerate(rng.choice(len(drawings), count, replace=False)):
        drawing = drawings[int(which)]
        size = int(rng.integers(80, width - 4))
        left = number * width + int(rng.integers(0, width - size))
        top = int(rng.integers(0, SIDE - size))
        picture = drawing.draw(size)
        image.paste(picture, (left, top), picture)
        things.append((drawing.name, (left, top, left + size, top + size)))
    return _finish(image, ground, things)


def compose_number(rng: Generator, fonts: Sequence[Path], digits: int = 3) -> Composed:
    """Write a number in large print: digits of 52 to 64 pixels, in one of the fonts."""
    ground = str(rng.choice(list(COLORS)))
    dark = ground in LIGHT
    color = tuple(int(v) for v in (rng.integers(0, 40, 3) if dark else rng.integers(215, 256, 3)))
    image = Image.new("RGB", (SIDE, SIDE), COLORS[ground])
    draw = ImageDraw.Draw(image)
    font = load_font(fonts[int(rng.integers(len(fonts)))], int(rng.integers(52, 65)))
    text = [str(rng.integers(10)) for _ in range(digits)]
    advance = [font.getlength(digit) for digit in text]
    left = (SIDE - sum(advance)) / 2 + int(rng.integers(-10, 11))
    middle = SIDE // 2 + int(rng.integers(-10, 11))
    things = []
    for digit, width in zip(text, advance, strict=True):
        draw.text((left, middle), digit, fill=color, font=font, anchor="lm")
        _, top, _, bottom = draw.textbbox((left, middle), digit, font=font, anchor="lm")
        things.append((digit, (round(left), round(top), round(left + width), round(bottom))))
        left += width
    return _finish(image, ground, things)


def _finish(image: Image.Image, ground: str, things: Sequence[tuple[str, Box]]) -> Composed:
    words = tuple(
        next((name for name, box in things if _covers(box, x, y)), ground)
        for y in range(CELL // 2, SIDE, CELL)
        for x in range(CELL // 2, SIDE, CELL)
    )
    return Composed(np.asarray(image), words, ground, tuple(things))


def _covers(box: Box, x: int, y: int) -> bool:
    left, top, right, bottom = box
    return left <= x < right and top <= y < bottom
