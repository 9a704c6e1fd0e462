"""The second world as the runs of the laptop benchmark see it: its tasks, and its model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ..mini.runs.world import World, WorldModel, WorldTask


def second_world(sources: Path, device: str = "cpu") -> World:
    """Return the world on the pictures that `fetch` has unpacked; nothing is read before use."""
    return World(partial(_tasks, sources), partial(_model, device), _ready, device)


def _tasks(sources: Path) -> Mapping[str, WorldTask]:
    from .tasks import bind
    from .tasks.pool import read_pool

    return bind(read_pool(sources))


def _model(device: str, base: Path) -> WorldModel:
    from .student import MidiModel

    return MidiModel.load(base, device)


def _ready() -> None:
    from . import student  # noqa: F401
