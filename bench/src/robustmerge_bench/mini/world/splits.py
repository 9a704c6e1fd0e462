"""Which scenes are for training, for validation and for tests: a matter of the scene alone.

A scene belongs to one split whatever draws it and whenever, so that neither the base model nor an
expert has ever seen a picture of a scene that it is tested on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal, TypeVar, get_args

from .scene import Scene

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

T = TypeVar("T")


def split_of(scene: Scene) -> Split:
    """The split of a scene: 7 of 10 are for training, 1 is for validation, 2 are for tests.

    The look does not matter: a scene in the dark is the same scene.
    """
    content = (scene.things, scene.ground, scene.lines, scene.gauge)
    place = zlib.crc32(repr(content).encode()) % 10
    return "train" if place < 7 else "validation" if place == 7 else "test"


def until(draw: Callable[[], T], scene: Callable[[T], Scene], split: Split) -> T:
    """Draw until the scene is of the split."""
    while split_of(scene(drawn := draw())) != split:
        pass
    return drawn
