"""All objectives by name: those of this package and of other installed distributions.

Another distribution names the module that registers its own by an entry point of the group
`robustmerge.objectives`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import entry_points

from ..errors import MergeError, unknown
from ..parameters import read_settings
from .objective import OBJECTIVES, NamedObjective, Objective, ObjectiveSetup


def every() -> tuple[NamedObjective, ...]:
    """Return all objectives, those of other installed distributions included."""
    from . import command, modeled  # noqa: F401  # they register themselves

    for entry in entry_points(group="robustmerge.objectives"):
        entry.load()
    return tuple(sorted(OBJECTIVES.values(), key=lambda each: each.name))


def make_objective(text: str, setup: ObjectiveSetup) -> Objective:
    """Make the objective of a text such as likelihood or mini:root=FOLDER,items=50.

    The settings are those of the text.

    Raises:
        MergeError: no objective of this name, or what it refuses.
    """
    name, _, rest = text.partition(":")
    known = {each.name: each for each in every()}
    if name not in known:
        error = unknown("measure", name, known, where=f"--measure {text}")
        if not entry_points(group="robustmerge.objectives"):
            more = "; more are in robustmerge-bench: pip install robustmerge-bench"
            raise MergeError(error.problem, where=error.where, hint=error.hint + more)
        raise error
    pairs = filter(None, rest.split(","))
    settings = read_settings(pairs, where=f"--measure {text}", hint="name:setting=value,…")
    return known[name].build(replace(setup, settings=settings))
