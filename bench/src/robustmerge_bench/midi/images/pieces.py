"""Drawings with names, and fonts, from the unpacked packages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image, ImageFont

from robustmerge.errors import MergeError, reading

GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
LONGEST_NAME = 12  # characters: single everyday words
FONTS = ("DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold")


@runtime_checkable
class Depiction(Protocol):
    """Something that can be drawn, and the word for it."""

    @property
    def name(self) -> str:
        """The word."""
        ...

    def draw(self, size: int) -> Image.Image:
        """Return it in a square of `size` pixels, with transparency."""
        ...


@dataclass(frozen=True)
class Drawing:
    """A drawing of a thing in a file, and the word for it."""

    name: str
    file: Path

    def draw(self, size: int) -> Image.Image:
        """Return the drawing in a square of `size` pixels, with its proportions."""
        with reading(self.file), Image.open(self.file) as image:
            drawing = image.convert("RGBA")
        drawing = drawing.crop(drawing.getbbox())  # without the margin
        scale = size / max(drawing.size)
        width, height = (max(1, round(side * scale)) for side in drawing.size)
        drawing = drawing.resize((width, height), Image.Resampling.BICUBIC)
        square = Image.new("RGBA", (size, size))
        square.paste(drawing, ((size - width) // 2, (size - height) // 2))
        return square


def read_drawings(package: Path) -> tuple[Drawing, ...]:
    """Return the emoji whose names are single words, by name, from emoji-datasource-google.

    There are some 300; names that two drawings share are left out.
    """
    entries = package / "emoji.json"
    with reading(entries):
        listed = json.loads(entries.read_text(encoding="utf-8"))
    by_name: dict[str, list[Path]] = {}
    for entry in listed:
        name = str(entry["name"]).lower()
        if entry["category"] in GROUPS and name.isalpha() and len(name) <= LONGEST_NAME:
            file = package / "img" / "google" / "64" / entry["image"]
            by_name.setdefault(name, []).append(file)
    single = {name: files[0] for name, files in by_name.items() if len(files) == 1}
    drawings = tuple(Drawing(name, file) for name, file in sorted(single.items()) if file.is_file())
    if not drawings:
        raise MergeError(
            "no drawings",
            where=str(entries),
            hint="fetch them first: robustmerge bench midi fetch",
        )
    return drawings


def read_fonts(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files of the fonts that writing is set in."""
    files = {path.stem: path for folder in folders for path in sorted(folder.rglob("*.ttf"))}
    if missing := [name for name in FONTS if name not in files]:
        raise MergeError(
            f"fonts are missing: {', '.join(missing)}",
            where=", ".join(map(str, folders)),
            hint="fetch them first: robustmerge bench midi fetch",
        )
    return tuple(files[name] for name in FONTS)


def load_font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    """Return a font at a size in pixels."""
    with reading(file):
        return ImageFont.truetype(str(file), size)
