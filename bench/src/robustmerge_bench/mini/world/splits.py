"""The split of a scene, train, validation or test: it follows from the scene alone.

A scene belongs to one split for all tasks and seeds, so that neither the base model nor an expert
is trained on an image of a scene of its tests.
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
    """Return the split of a scene: 7 of 10 are train, 1 is validation, 2 are test.

    The look does not matter: a scene in the dark is the same scene.
    """
    return split_of_content((scene.things, scene.ground, scene.lines, scene.gauge))


def split_of_content(content: object) -> Split:
    """Return the split of whatever has a `repr` that is the same in every process."""
    bucket = zlib.crc32(repr(content).encode()) % 10
    return "train" if bucket < 7 else "validation" if bucket == 7 else "test"


def until(draw: Callable[[], T], scene: Callable[[T], Scene], split: Split) -> T:
    """Draw until the scene is of the split."""
    while split_of(scene(drawn := draw())) != split:
        pass
    return drawn
