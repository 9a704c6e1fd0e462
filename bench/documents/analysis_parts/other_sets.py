"""Whether what was read off one set of experts holds on others, which had no part in it.

The other sets are in no repository: `robustmerge bench mini train` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError

from .diagnosed_merges import Shelf, Which
from .scale_rules import counted, loudness


@dataclass(frozen=True)
class Tuned:
    """A merge of another set, and the factor that was best on its validation items."""

    set: str
    which: Which
    factor: float


def tuned_elsewhere(results: Mapping[str, Any], own: str) -> Iterator[Tuned]:
    """The tuned merges of every set of the views over several seeds, but of the own one."""
    for view in results["views"]:
        names = [f"{view['family']}-{seed}" for seed in view["seeds"]]
        if len(names) > 1:
            for section in (s for s in view["sections"] if s["scale"] == "sweep"):
                for row in section["rows"]:
                    which = Which(row["merge"], section["rank"], len(view["seen"]))
                    for name, factor in zip(names, row["factors"], strict=True):
                        if name != own:
                            yield Tuned(name, which, factor)


def shelves(
    names: Sequence[str], tasks: Sequence[str], root: Path, cache: Path
) -> dict[str, Shelf]:
    """A shelf for every set.

    Raises:
        MergeError: If a set is not under the root.
    """
    for name in names:
        if not (root / name).is_dir():
            raise MergeError(
                f"the results are of {', '.join(names)}, and {name} is not there",
                where=str(root),
                hint="give the folder experts/ that robustmerge bench mini train wrote",
            )
    return {name: Shelf([root / name / task for task in tasks], cache) for name in names}


def zones(merges: Sequence[Tuned], shelves: Mapping[str, Shelf]) -> list[dict[str, Any]]:
    """Best factors of merges that the diagnosis calls too small, too large, or neither."""
    found = [(shelves[each.set].taken(each.which), each) for each in merges]
    return counted([(loudness(taken, each.which.count), each.factor) for taken, each in found])
