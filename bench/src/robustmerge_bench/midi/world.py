"""The second world as the runs of the laptop benchmark see it: its tasks, and its model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ..mini.runs.world import World, WorldModel, WorldTask


def second_world(sources: Path) -> World:
    """Return the world on the pictures that `fetch` has unpacked; nothing is read before use."""
    return World(partial(_tasks, sources), _model, _ready)


def _tasks(sources: Path) -> Mapping[str, WorldTask]:
    from .tasks import bind
    from .tasks.pool import read_pool

    return bind(read_pool(sources))


def _model(base: Path) -> WorldModel:
    from .student import MidiModel

    return MidiModel.load(base)


def _ready() -> None:
    from . import student  # noqa: F401
