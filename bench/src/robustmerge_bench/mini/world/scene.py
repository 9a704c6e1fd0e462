"""Scenes and their images: 48 x 48 pixels, everything on a grid of 6 x 6 patches.

A scene is a few things on a ground, lines of writing, and perhaps a gauge. Things stand in cells of
2 x 2 patches; a small thing fills one patch of its cell. A vision tower of a million parameters
learns to see what is on the grid after minutes of training, and nothing else.

The split of a scene is a hash of its repr: names of classes and fields here decide it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .facts import COLORS, COLUMNS, ROWS
from .sprites import DOTS, glyph, sprite

GRID = 6
SIDE = GRID * DOTS
CELLS = tuple((row, column) for row in range(3) for column in range(3))

INK, PAPER = (20, 20, 25), (250, 246, 235)
GROUND_COLORS = {
    "grass": ((150, 205, 130), (125, 185, 105)),
    "sand": ((235, 220, 175), (220, 200, 150)),
    "water": ((150, 200, 235), (120, 175, 220)),
    "wood": ((205, 165, 125), (185, 140, 100)),
    "snow": ((245, 248, 252), (222, 230, 240)),
    "tile": ((225, 205, 215), (195, 170, 185)),
}
LOOKS = ("plain", "dark", "blurred", "noisy", "unreadable", "icon", "inverted", "mono", "coarse")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Thing:
    """An object in a cell of the scene.

    Attributes:
        name: Its plain name.
        color: Its color.
        row: Row of its cell, 0 to 2.
        column: Column of its cell, 0 to 2.
        corner: The patch of the cell that a small thing fills, 0 to 3; a large one has None.
    """

    name: str
    color: str
    row: int
    column: int
    corner: int | None = None

    @property
    def size(self) -> str:
        """The word for its size."""
        return "large" if self.corner is None else "small"

    @property
    def place(self) -> str:
        """The words for its cell."""
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"

    @property
    def cell(self) -> Box:
        """The box of its cell in patches: x1, y1, x2, y2."""
        x, y = 2 * self.column, 2 * self.row
        return x, y, x + 2, y + 2

    @property
    def box(self) -> Box:
        """The box that it fills, in patches: x1, y1, x2, y2."""
        if self.corner is None:
            return self.cell
        x, y = 2 * self.column + self.corner % 2, 2 * self.row + self.corner // 2
        return x, y, x + 1, y + 1


@dataclass(frozen=True)
class Line:
    """Writing, a character to a patch, from a patch to the right."""

    text: str
    row: int
    column: int = 0


@dataclass(frozen=True)
class Scene:
    """The content of an image.

    Attributes:
        things: In reading order.
        ground: A texture, or a color for a plain ground.
        lines: From top to bottom.
        gauge: The row of patches it fills and the level it shows, 0 to 9.
        look: One of LOOKS.
    """

    things: tuple[Thing, ...] = ()
    ground: str = "snow"
    lines: tuple[Line, ...] = ()
    gauge: tuple[int, int] | None = None
    look: str = "plain"


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw the image of a scene: uint8 [48, 48, 3]; the generator is for noise only."""
    icon = scene.look == "icon"
    canvas = (paper() if icon else ground(scene.ground)).copy()
    for thing in scene.things:
        draw(canvas, thing, icon)
    for line in scene.lines:
        write(canvas, line)
    if scene.gauge is not None:
        fill(canvas, *scene.gauge)
    return apply_look(canvas, scene.look, rng)


@functools.cache
def paper() -> np.ndarray:
    """Draw a white sheet."""
    return np.full((SIDE, SIDE, 3), 252, np.uint8)


@functools.cache
def ground(name: str) -> np.ndarray:
    """Draw the empty ground: uint8 [48, 48, 3]."""
    if name in COLORS:  # pale, so that things stand out
        pale = np.array(COLORS[name]) * 0.45 + 255 * 0.55
        return np.broadcast_to(pale.astype(np.uint8), (SIDE, SIDE, 3)).copy()
    y, x = np.mgrid[:SIDE, :SIDE]
    second = {
        "grass": (x * 7 + y * 3) % 5 == 0,
        "sand": (x * 5 + y * 11) % 7 == 0,
        "water": (y + (x // 4) % 2) % 4 == 0,
        "wood": x % 8 < 2,
        "snow": (x + y) % 6 == 0,
        "tile": (x // 4 + y // 4) % 2 == 0,
    }[name]
    light, dark = GROUND_COLORS[name]
    return np.where(second[..., None], dark, light).astype(np.uint8)


@functools.cache
def stamp(name: str, large: bool, outline: bool) -> np.ndarray:
    """Return the pixels of a thing: bool [16, 16] or [8, 8]."""
    dots = sprite(name)
    if large:
        dots = dots.repeat(2, axis=0).repeat(2, axis=1)
    if not outline:
        return dots
    padded = np.pad(dots, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: np.ndarray = dots & ~inner
    return edge


def draw(canvas: np.ndarray, thing: Thing, outline: bool) -> None:
    """Put a thing on the canvas."""
    x1, y1, x2, y2 = (DOTS * side for side in thing.box)
    mask = stamp(thing.name, thing.corner is None, outline)
    canvas[y1:y2, x1:x2][mask] = COLORS[thing.color]


def write(canvas: np.ndarray, line: Line) -> None:
    """Put a line of writing on the canvas, on a strip of paper."""
    top = DOTS * line.row
    for column, character in enumerate(line.text, line.column):
        patch = canvas[top : top + DOTS, DOTS * column : DOTS * (column + 1)]
        patch[:] = PAPER
        patch[glyph(character)] = INK


def fill(canvas: np.ndarray, row: int, level: int) -> None:
    """Draw a gauge over a row of patches."""
    strip = canvas[DOTS * row : DOTS * (row + 1)]
    strip[:] = PAPER
    strip[1:7, 1:-1] = (90, 90, 100)
    strip[2:6, 2:-2] = (255, 255, 255)
    strip[2:6, 2 : 2 + round(level / 9 * (SIDE - 4))] = (230, 60, 50)


def apply_look(canvas: np.ndarray, look: str, rng: np.random.Generator) -> np.ndarray:
    """Change an image as a camera, a printer or a screen does."""
    if look in ("plain", "icon"):
        return canvas
    light: np.ndarray = canvas.astype(np.float32)
    if look == "dark":
        light *= 0.35
    elif look == "blurred":
        light = blur(light)
    elif look == "noisy":
        light += rng.normal(0, 32, light.shape)
    elif look == "unreadable":
        light = 0.3 * blur(blur(light)) + rng.normal(0, 45, light.shape)
    elif look == "inverted":
        light = 255 - light
    elif look == "mono":
        light = light.mean(axis=2, keepdims=True).repeat(3, axis=2)
    elif look == "coarse":
        light = light.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
        light = light.repeat(2, axis=0).repeat(2, axis=1)
    return light.clip(0, 255).astype(np.uint8)


def blur(light: np.ndarray) -> np.ndarray:
    """Return the mean over 3 x 3 pixels."""
    padded = np.pad(light, ((1, 1), (1, 1), (0, 0)), mode="edge")
    shifts = [padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)]
    mean: np.ndarray = np.stack(shifts).mean(axis=0)
    return mean
