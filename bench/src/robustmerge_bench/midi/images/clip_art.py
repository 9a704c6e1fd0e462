"""Clip art by topic: drawings of many hands, whose topic is the folder they are in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robustmerge.errors import MergeError, reading

from .pieces import Depiction, Drawing
from .splits import Split, split_of_content

TOPICS: Mapping[str, str] = {
    "animals/birds": "bird",
    "animals/bugs": "insect",
    "animals/mammals": "mammal",
    "buildings/homes": "house",
    "computer/hardware": "computer",
    "food/beverages": "drink",
    "food/desserts": "dessert",
    "food/fruit": "fruit",
    "plants/flowers": "flower",
    "recreation/music": "music",
    "recreation/sports": "sport",
    "tools/weapons": "weapon",
    "transportation/boating": "boat",
    "transportation/vehicles": "vehicle",
}
"""The word for the drawings of a folder."""

MOST_PIXELS = 4_000_000
"""Larger files are left out: four have 168 million pixels, 700 MB each when they are drawn."""

_VERSION = re.compile(r"(_bw|_r|_?\d+|_)+(?=$|_)")


@dataclass(frozen=True)
class ClipArt:
    """Drawings of all topics, by split."""

    drawings: Mapping[Split, tuple[Depiction, ...]]


def read_clip_art(package: Path) -> ClipArt:
    """Return 656 drawings; versions of one drawing, in gray or numbered, are of one split."""
    by_split: dict[Split, list[Drawing]] = {"train": [], "validation": [], "test": []}
    folder = package / "usr/share/openclipart/png"
    for topic, name in TOPICS.items():
        for file in sorted((folder / topic).glob("*.png")):
            if count_pixels(file) <= MOST_PIXELS:
                by_split[split_of_content(series(file.stem))].append(Drawing(name, file))
    if not all(by_split.values()):
        raise MergeError("no clip art", where=str(folder), hint="remove the folder; fetch it again")
    return ClipArt({split: tuple(drawings) for split, drawings in by_split.items()})


def count_pixels(file: Path) -> int:
    """Return how many pixels a PNG file has, from its header."""
    with reading(file), file.open("rb") as content:
        header = content.read(24)
    return int.from_bytes(header[16:20], "big") * int.from_bytes(header[20:24], "big")


def series(stem: str) -> str:
    """Return what versions of one drawing have in common in their names.

    >>> series("bus1_bw_jarno_vasamaa_01") == series("bus1_jarno_vasamaa_02")
    True
    """
    return _VERSION.sub("", stem)
