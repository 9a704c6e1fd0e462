"""Merging, answering and scoring, as a run calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol as Shape

from ....engine.recipe import Recipe
from ..score import Protocol, Score
from ..tasks import Task
from .models import Locate


class Files(Shape):
    """A task's files, as `data.find` gives them."""

    @property
    def questions(self) -> Path:
        """The questions, or a folder of pictures by class."""

    @property
    def references(self) -> Path | None:
        """The references, if the task has any."""


@dataclass(frozen=True)
class Tools:
    """What a run needs to have done.

    Attributes:
        locate: From a folder or Hub id to a folder.
        find: The files of a task under the root of all data.
        merge: Merge by a recipe, into a folder.
        answer: Have a base with an adapter, or alone, answer tasks' questions; into a folder,
            where what is there already is not asked again.
        score: Score a task's answers by a protocol.
        complete: Whether a score has all that can be computed now: METEOR takes Java.
        asked: The options that decide what is answered.
    """

    locate: Locate
    find: Callable[[Path, Task], Files]
    merge: Callable[[Recipe, Path], object]
    answer: Callable[[str, str | None, Sequence[Task], Path, Path], object]
    score: Callable[[Task, Files, Path, Protocol], Score]
    complete: Callable[[Task, Path], bool]
    asked: Mapping[str, Any]
