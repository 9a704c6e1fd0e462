"""What a run takes from outside: the tasks, and a model that answers. Tests bring their own."""

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
    """A task: where its items come from, and what an answer is worth."""

    @property
    def name(self) -> str:
        """Short name, such as sqa."""
        ...

    @property
    def seen(self) -> bool:
        """Whether there is an expert for it."""
        ...

    def items(self, split: Split, count: int, seed: int = 0) -> list[Item]:
        """The first items of a split."""
        ...

    def score(self, answers: Sequence[str], items: Sequence[Item]) -> np.ndarray:
        """One score per item [n], 0 to 100."""
        ...


@runtime_checkable
class WorldModel(Protocol):
    """A base model that can put on an adapter."""

    def answer(self, items: Sequence[Item]) -> list[str]:
        """One greedy answer per item."""
        ...

    def using(self, adapter: Path | None, scale: float = 1.0) -> AbstractContextManager[Any]:
        """For the length of a block, the base plus `scale` times the adapter's LoRA update."""
        ...


def _always() -> None:
    """Nothing is missing."""


@dataclass(frozen=True)
class World:
    """Tasks and model; both functions are found by name, so that worker processes can call them.

    Attributes:
        tasks: Gives the tasks by name, in the order they are shown in.
        model: Loads the base from its folder.
        ready: Fails now if a library is missing, and not in every worker.
    """

    tasks: Callable[[], Mapping[str, WorldTask]]
    model: Callable[[Path], WorldModel]
    ready: Callable[[], None] = _always


def built_in() -> World:
    """The benchmark's own world and model; nothing is imported before it is used."""
    return World(_tasks, _model, _ready)


def _tasks() -> Mapping[str, WorldTask]:
    from ..tasks import TASKS

    return TASKS


def _model(base: Path) -> WorldModel:
    from ..student import MiniModel

    return MiniModel.load(base)


def _ready() -> None:
    from .. import student  # noqa: F401
