"""The interface to a world: its tasks with their items, and a model that answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...item import Item
from ..world.splits import Split


@runtime_checkable
class WorldTask(Protocol):
    """A task: its items, and the scores of answers."""

    @property
    def name(self) -> str:
        """Short name, such as sqa."""
        ...

    @property
    def seen(self) -> bool:
        """Whether there is an expert for it."""
        ...

    def items(self, split: Split, count: int, seed: int = 0) -> list[Item]:
        """Return the first items of a split."""
        ...

    def score(self, answers: Sequence[str], items: Sequence[Item]) -> np.ndarray:
        """Return one score per item [n], 0 to 100."""
        ...


@runtime_checkable
class WorldModel(Protocol):
    """A base model that can load an adapter."""

    def answer(self, items: Sequence[Item]) -> list[str]:
        """Return one greedy answer per item."""
        ...

    def using(self, adapter: Path | None, scale: float = 1.0) -> AbstractContextManager[Any]:
        """Add `scale` times the adapter's LoRA update to the base for the length of a block."""
        ...


def _always() -> None:
    """Find nothing missing."""


@dataclass(frozen=True)
class World:
    """Tasks and model: functions of modules, so that worker processes can import them.

    Attributes:
        tasks: Returns the tasks by name, in the order of the tables.
        model: Loads the base from its folder.
        ready: Fails early if a library is missing, and not in every worker.
        device: Where merges are computed and what they need is collected; `model` knows its own.
    """

    tasks: Callable[[], Mapping[str, WorldTask]]
    model: Callable[[Path], WorldModel]
    ready: Callable[[], None] = _always
    device: str = "cpu"


def built_in() -> World:
    """Return the drawn world and its model; nothing is imported before it is used."""
    return World(_tasks, _model, _ready)


def _tasks() -> Mapping[str, WorldTask]:
    from ..tasks import TASKS

    return TASKS


def _model(base: Path) -> WorldModel:
    from ..student import MiniModel

    return MiniModel.load(base)


def _ready() -> None:
    from .. import student  # noqa: F401
