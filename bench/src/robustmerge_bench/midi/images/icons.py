"""Icons of one color, drawn from the font of the package @mdi/font."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from robustmerge.errors import MergeError, reading

from .pieces import Depiction, load_font

STYLES = "css/materialdesignicons.css"
FONT = "fonts/materialdesignicons-webfont.ttf"
_ICON = re.compile(r"\.mdi-([a-z]+)::before \{\s*content: \"\\([0-9A-F]+)\"")
DARK = (30, 30, 60)


@dataclass(frozen=True)
class Glyph:
    """An icon: the word for it, and where it is in the font."""

    name: str
    font: Path
    code: int
    color: tuple[int, int, int] = DARK

    def draw(self, size: int) -> Image.Image:
        """Return the icon in a square of `size` pixels, with transparency."""
        image = Image.new("RGBA", (size, size))
        middle = (size / 2, size / 2)
        font = load_font(self.font, size)
        ImageDraw.Draw(image).text(middle, chr(self.code), self.color, font, anchor="mm")
        return image


def read_icons(package: Path) -> dict[str, Glyph]:
    """Return the icons whose names are single words, by name: some 900."""
    styles = package / STYLES
    with reading(styles):
        text = styles.read_text(encoding="utf-8")
    font = package / FONT
    icons = {name: Glyph(name, font, int(code, 16)) for name, code in _ICON.findall(text)}
    if not icons:
        raise MergeError("no icons", where=str(styles), hint="remove the folder; fetch it again")
    return icons


def named_icons(
    icons: Mapping[str, Depiction], drawings: Sequence[Depiction]
) -> dict[str, Depiction]:
    """Return the icons that have the name of a drawing, by name: some 150."""
    return {each.name: icons[each.name] for each in drawings if each.name in icons}
