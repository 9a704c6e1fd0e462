"""The facts of the world: names, kinds, colors, and synonyms.

A base model knows all of them; each task words them in its own way.
"""

from __future__ import annotations

from .sprites import SPRITES

NAMES = tuple(SPRITES)
KINDS = ("animal", "food", "plant", "vehicle", "building", "tool")
KIND = {name: KINDS[index // 4] for index, name in enumerate(NAMES)}
EXACT = {
    "cat": "tabby",
    "dog": "hound",
    "bird": "sparrow",
    "carrot": "parsnip",
    "cake": "muffin",
    "tree": "pine",
    "flower": "tulip",
    "boat": "yacht",
    "plane": "jet",
    "tower": "lighthouse",
    "tent": "tipi",
    "hammer": "mallet",
    "lamp": "lantern",
}  # other things have no exact name
MATERIALS = ("soft", "hard", "wet")
MATERIAL = {name: MATERIALS[(5 * index + index // 4) % 3] for index, name in enumerate(NAMES)}

COLORS = {
    "red": (214, 40, 40),
    "green": (40, 160, 70),
    "blue": (40, 80, 215),
    "yellow": (245, 215, 50),
    "purple": (145, 60, 180),
    "orange": (245, 140, 30),
    "gray": (150, 150, 150),
    "brown": (120, 75, 40),
}
FANCY = {"red": "crimson", "blue": "azure", "purple": "violet", "gray": "silver", "brown": "umber"}
GENRE = {
    "red": "horror",
    "green": "travel",
    "blue": "science",
    "yellow": "comedy",
    "purple": "romance",
    "orange": "cooking",
    "gray": "history",
    "brown": "western",
}

GROUNDS = ("grass", "sand", "water", "wood", "snow", "tile")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
LEVELS = ("low", "medium", "high")


def exact(name: str) -> str:
    """Return the exact name of a thing, as class labels have it."""
    return EXACT.get(name, name)


def fancy(color: str) -> str:
    """Return the fancy word for a color."""
    return FANCY.get(color, color)


def level(value: int) -> str:
    """Return the level of a gauge, 0 to 9, in a word."""
    return LEVELS[0 if value <= 2 else 1 if value <= 6 else 2]


def names_of_kind(kind: str) -> tuple[str, ...]:
    """Return the names of things of a kind."""
    return tuple(name for name in NAMES if KIND[name] == kind)
