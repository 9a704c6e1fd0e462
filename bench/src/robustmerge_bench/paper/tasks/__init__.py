"""The tasks, by name.

SEEN      the eight that experts were trained on
UNSEEN    the four without an expert
GENERAL   the general benchmarks of table 3
VISION    the eight vision tasks of tables 4 and 5
TASKS     all of these, by name
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from robustmerge.errors import unknown

from ._task import Framing, Group, PaperTask
from .general import GENERAL
from .seen import SEEN
from .unseen import UNSEEN
from .vision import VISION

__all__ = [
    "GENERAL",
    "SEEN",
    "TASKS",
    "UNSEEN",
    "VISION",
    "Framing",
    "Group",
    "PaperTask",
    "select_tasks",
]

TASKS: Mapping[str, PaperTask] = MappingProxyType(
    {task.name: task for task in SEEN + UNSEEN + GENERAL + VISION}
)
_GROUPS = {
    "seen": SEEN,
    "unseen": UNSEEN,
    "general": GENERAL,
    "vision": VISION,
    "all": SEEN + UNSEEN,
}


def select_tasks(names: str) -> tuple[PaperTask, ...]:
    """Return the tasks of a list such as "seen,tabmwp", each once, in that order."""
    selected: dict[str, PaperTask] = {}
    for name in (part.strip() for part in names.split(",")):
        if name not in _GROUPS and name not in TASKS:
            raise unknown("task", name, [*TASKS, *_GROUPS])
        for task in _GROUPS.get(name) or (TASKS[name],):
            selected[task.name] = task
    return tuple(selected.values())
