"""The 24 things of the world as sprites of 8 x 8 dots, and the characters of its writing."""

from __future__ import annotations

import functools
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

DOTS = 8

# Six kinds of four things; a name, then eight rows of eight dots as two hexadecimal digits each.
SPRITES = {
    "cat": "81 C3 FF DB FF 7E 3C 00",
    "dog": "C3 E7 BD A5 3C 3C 24 18",
    "fish": "00 39 7D DF FF 7D 39 00",
    "bird": "06 0F 8E DE FE 7C 10 18",
    "apple": "08 10 7E FF FF FF 7E 34",
    "carrot": "05 0A 1C 3C 78 70 E0 80",
    "cake": "08 1C 08 7E 42 7E 7E FF",
    "cherry": "06 0A 12 22 F7 F7 F7 62",
    "tree": "18 3C 7E 3C 7E FF 18 18",
    "flower": "24 7E 5A 7E 24 18 5A 3C",
    "cactus": "18 19 99 9B DE 78 18 18",
    "mushroom": "3C 7E DB FF FF 18 18 3C",
    "car": "00 3C 44 C4 FF FF 66 66",
    "boat": "10 18 1C 1E 10 FF 7E 3C",
    "plane": "08 0C 8E FF FF 8E 0C 08",
    "rocket": "18 3C 24 3C 3C 7E DB 99",
    "house": "18 3C 7E FF 7E 66 66 7E",
    "tower": "5A 7E 3C 3C 34 3C 7E 7E",
    "tent": "10 18 3C 3C 66 66 C3 C3",
    "castle": "A5 FF 7E 7E 66 E7 E7 E7",
    "key": "70 88 88 70 20 38 20 38",
    "hammer": "7C FE 7C 10 10 10 10 10",
    "cup": "00 FC FE FD FD FE 78 00",
    "lamp": "3C 7E FF FF 10 10 38 7C",
}
CHARACTERS = string.ascii_lowercase + string.digits


@functools.cache
def sprite(name: str) -> np.ndarray:
    """Return the dots of a thing: bool [8, 8]."""
    rows = np.array([int(row, 16) for row in SPRITES[name].split()], np.uint8)
    return np.unpackbits(rows[:, None], axis=1).astype(bool)


@functools.cache
def glyph(character: str) -> np.ndarray:
    """Return the dots of a character in capitals: bool [8, 8]."""
    canvas = Image.new("1", (DOTS, 2 * DOTS))
    ImageDraw.Draw(canvas).text((1, 0), character.upper(), 1, ImageFont.load_default_imagefont())
    ink = np.array(canvas)
    top = int(np.argmax(ink.any(axis=1)))
    return ink[top : top + DOTS]
