"""Zones of size on other sets of experts, which had no part in setting their bounds.

The other sets are in no repository: `robustmerge bench mini train` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError

from .diagnosed_merges import MergeCache, MergeId
from .scale_rules import coefficient_size, count_by_zone


@dataclass(frozen=True)
class TunedMerge:
    """A merge of another set, and the factor that was best on its validation items."""

    set: str
    which: MergeId
    factor: float


def tuned_merges(results: Mapping[str, Any], own: str) -> Iterator[TunedMerge]:
    """Yield the tuned merges of every set of the views over several seeds, without the own set."""
    for view in results["views"]:
        names = [f"{view['family']}-{seed}" for seed in view["seeds"]]
        if len(names) > 1:
            for section in (s for s in view["sections"] if s["scale"] == "sweep"):
                for row in section["rows"]:
                    which = MergeId(row["merge"], section["rank"], len(view["seen"]))
                    for name, factor in zip(names, row["factors"], strict=True):
                        if name != own:
                            yield TunedMerge(name, which, factor)


def merge_caches(
    names: Sequence[str], tasks: Sequence[str], root: Path, cache: Path
) -> dict[str, MergeCache]:
    """Return a cache for every set.

    Raises:
        MergeError: a set is not under the root.
    """
    for name in names:
        if not (root / name).is_dir():
            raise MergeError(
                f"the results are of {', '.join(names)}, and {name} is not there",
                where=str(root),
                hint="give the folder experts/ that robustmerge bench mini train wrote",
            )
    return {name: MergeCache([root / name / task for task in tasks], cache) for name in names}


def zones(
    merges: Sequence[TunedMerge], merge_caches: Mapping[str, MergeCache]
) -> list[dict[str, Any]]:
    """Count best factors of merges that the diagnosis calls too small, too large, or neither."""
    pairs = [(merge_caches[each.set].diagnosed(each.which), each) for each in merges]
    return count_by_zone(
        [(coefficient_size(diagnosed, each.which.count), each.factor) for diagnosed, each in pairs]
    )
