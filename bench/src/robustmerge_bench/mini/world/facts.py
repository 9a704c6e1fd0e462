"""What is true in the world: names, kinds, colors, and the other words for the same things.

A base model knows all of this; each task has a way of its own to say it.
"""

from __future__ import annotations

from .sprites import PICTURES

NAMES = tuple(PICTURES)
KINDS = ("animal", "food", "plant", "vehicle", "building", "tool")
KIND = {name: KINDS[place // 4] for place, name in enumerate(NAMES)}
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
}  # the others are called the same by everybody
MATERIALS = ("soft", "hard", "wet")
MATERIAL = {name: MATERIALS[(5 * place + place // 4) % 3] for place, name in enumerate(NAMES)}

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
    """The name that an expert for classes uses."""
    return EXACT.get(name, name)


def fancy(color: str) -> str:
    """The word that people with a taste for colors use."""
    return FANCY.get(color, color)


def level(value: int) -> str:
    """What a gauge of 0 to 9 says in a word."""
    return LEVELS[0 if value <= 2 else 1 if value <= 6 else 2]


def kin(kind: str) -> tuple[str, ...]:
    """The things of a kind."""
    return tuple(name for name in NAMES if KIND[name] == kind)
