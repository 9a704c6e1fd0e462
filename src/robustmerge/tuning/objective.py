"""What a search maximizes: objectives by name, and how several tasks become one number.

An objective scores an adapter's folder, task by task. It is registered by a function from an
`ObjectiveSetup`, here or in another distribution (`measures.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from ..engine.recipe import Recipe
from ..errors import unknown

Split = Literal["tuning", "held-out"]
Pooling = Literal["mean", "worst"]
POOLINGS: Mapping[Pooling, Callable[[Sequence[float], bool], float]] = {
    "mean": lambda scores, minimize: sum(scores) / len(scores),
    "worst": lambda scores, minimize: max(scores) if minimize else min(scores),
}
"""How the scores of all tasks become what is searched for."""


@dataclass(frozen=True)
class ObjectiveSetup:
    """What an objective is made of.

    Attributes:
        recipe: The merge that is tuned, with its adapters, base and samples.
        settings: What the user wrote after the objective's name.
        commands: Commands that print a number, by task.
        device: Where a model runs.
        server: URL of a server that loads adapters at run time; '' for none.
        held_out: Share of every file's samples that is held out.
        limit: Most samples used of each file, the first ones.
    """

    recipe: Recipe
    settings: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    server: str = ""
    held_out: float = 0.2
    limit: int = 256


@runtime_checkable
class Objective(Protocol):
    """Scores of adapters."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order in which they are scored."""
        ...

    @property
    def splits(self) -> tuple[Split, ...]:
        """The parts that it can score; held-out only where there is such a part."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides the scores, as plain data: the same facts, the same scores."""
        ...

    def scores(self, adapter: Path, split: Split) -> Generator[tuple[str, float], None, None]:
        """Yield every task's score of an adapter; closed earlier, the others are not computed.

        Raises:
            MergeError: the adapter cannot be scored.
        """
        ...


Build = Callable[[ObjectiveSetup], Objective]
F = TypeVar("F", bound=Build)


@dataclass(frozen=True)
class NamedObjective:
    """A registered objective.

    Attributes:
        name: What the user types.
        meaning: One line for lists.
        build: Makes it.
    """

    name: str
    meaning: str
    build: Build


OBJECTIVES: dict[str, NamedObjective] = {}


def objective(name: str, meaning: str) -> Callable[[F], F]:
    """Register a function from a setup as the objective `name`."""

    def register(build: F) -> F:
        OBJECTIVES[name] = NamedObjective(name, meaning, build)
        return build

    return register


def take_settings(setup: ObjectiveSetup, known: Mapping[str, str]) -> dict[str, str]:
    """Return an objective's settings with defaults in the place of those that are not given.

    Raises:
        MergeError: a setting that it does not have.
    """
    for name in setup.settings:
        if name not in known:
            raise unknown("setting of the measure", name, known, where="--measure")
    return {**known, **setup.settings}
