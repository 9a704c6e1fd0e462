"""All pictures that questions are asked about, and random choices among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from numpy.random import Generator

from ..images.clip_art import ClipArt, read_clip_art
from ..images.flags import read_flags
from ..images.garments import Photo, Photos, read_photos
from ..images.icons import named_icons, read_icons
from ..images.pieces import Depiction, read_drawings
from ..images.splits import SPLITS, Split
from ..sources.packages import CLIP_ART, EMOJI, FASHION, FLAGS, ICONS, unpacked

T = TypeVar("T")


@dataclass(frozen=True)
class Pool:
    """The pictures of the packages.

    Attributes:
        drawings: Emoji with names.
        icons: Those that have the name of an emoji, by name.
        flags: With the names of their countries.
        clip_art: By split, with the names of their topics.
        photos: Of garments, by split.
    """

    drawings: tuple[Depiction, ...]
    icons: Mapping[str, Depiction]
    flags: tuple[Depiction, ...]
    clip_art: ClipArt
    photos: Mapping[Split, Photos]

    def photo(self, rng: Generator, split: Split) -> Photo:
        """Choose a photograph of a split."""
        photos = self.photos[split]
        return photos.photo(int(rng.integers(len(photos))))


@lru_cache(maxsize=1)
def read_pool(sources: Path) -> Pool:
    """Read the packages that `fetch` has unpacked; 60 MB are held, most of them photographs."""
    drawings = read_drawings(unpacked(sources, EMOJI) / "package")
    icons = read_icons(unpacked(sources, ICONS) / "package")
    photos = unpacked(sources, FASHION)
    return Pool(
        drawings,
        named_icons(icons, drawings),
        read_flags(unpacked(sources, FLAGS)),
        read_clip_art(unpacked(sources, CLIP_ART)),
        {split: read_photos(photos, split) for split in SPLITS},
    )


def pick(rng: Generator, values: Sequence[T]) -> T:
    """Choose one."""
    return values[int(rng.integers(len(values)))]


def some(rng: Generator, values: Sequence[T], count: int) -> list[T]:
    """Choose several different ones, in random order."""
    return [values[int(i)] for i in rng.choice(len(values), count, replace=False)]


def options(rng: Generator, answer: str, values: Sequence[str], count: int = 3) -> tuple[str, str]:
    """Return the options of a choice as a text, and the letter of the right one."""
    others = some(rng, [value for value in values if value != answer], count - 1)
    listed = some(rng, [answer, *others], count)
    letters = "ABCDEFGH"[:count]
    text = " ".join(f"{letter}. {each}" for letter, each in zip(letters, listed, strict=True))
    return text, letters[listed.index(answer)]
