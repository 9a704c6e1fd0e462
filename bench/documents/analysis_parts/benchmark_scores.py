"""What the laptop benchmark measured of merges, from its raw results alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robustmerge.errors import MergeError

from .diagnosed_merges import MergeId

NORMAL = 2 * 1.959964  # standard errors in a 95 % interval


@dataclass(frozen=True)
class MeasuredMerge:
    """A merge at one scale, and its scores.

    Attributes:
        which: The merge.
        scale: default, norm-matched or sweep.
        factor: What it was multiplied by; None where a rule of scale decides.
        tasks: Score of every task [mean, low, high].
        averages: The same of seen and unseen averages and of the worst task.
        tried: Validation score by factor, of a sweep.
    """

    which: MergeId
    scale: str
    factor: float | None
    tasks: Mapping[str, Sequence[float]]
    averages: Mapping[str, Sequence[float]]
    tried: Mapping[float, float] = field(default_factory=dict)

    def score(self, target: str) -> float:
        """Return the seen or unseen average, or the worst task's score."""
        return self.averages[target][0]

    def error(self, target: str) -> float:
        """Return its standard error over items."""
        _, low, high = self.averages[target]
        return (high - low) / NORMAL


class BenchmarkScores:
    """What was measured of one set of experts, and the studies of the same experts."""

    def __init__(self, results: Mapping[str, Any], family: str = "shared", seed: int = 0) -> None:
        """Take the results as they are on disk.

        Raises:
            MergeError: If they have no table of this set alone.
        """
        own = [v for v in results["views"] if (v["family"], v["seeds"]) == (family, [seed])]
        if not own:
            raise MergeError(
                f"the laptop benchmark's results have no table of {family}, seed {seed} alone",
                hint="make minibench, with this set in --study-sets",
            )
        (self.view,) = own
        self.seen: list[str] = self.view["seen"]
        self._studies = results["studies"]
        self._with_data = set(results["with_data"])

    def table(self, scale: str, rank: str) -> list[MeasuredMerge]:
        """Return all methods that need no data, at one scale and rank."""
        return [
            self._measured(row, scale, rank, len(self.seen))
            for section in self.view["sections"]
            if (section["scale"], section["rank"]) == (scale, rank)
            for row in sorted(section["rows"], key=lambda row: str(row["merge"]))
            if row["merge"] not in self._with_data
        ]

    def at_input_rank(self, scale: str) -> list[MeasuredMerge]:
        """Return all merges of all experts at input rank, with those of the studies."""
        merges = {each.which: each for each in self.table(scale, "input")}
        for each in self._of_studies(scale):
            if each.which.count == len(self.seen):
                merges.setdefault(each.which, each)
        return [merges[which] for which in sorted(merges)]

    def subsets(self, scale: str) -> list[MeasuredMerge]:
        """Return merges of some of the experts."""
        merges = {each.which: each for each in self._of_studies(scale)}
        return [merges[w] for w in sorted(merges) if w.count < len(self.seen)]

    def kept(self, each: MeasuredMerge) -> np.ndarray:
        """Return the share of every expert's gain over zero-shot that a merge keeps [task]."""
        tasks = self.seen[: each.which.count]
        zero, expert = (self.view[key]["tasks"] for key in ("zero_shot", "experts"))
        return np.array(
            [(each.tasks[t][0] - zero[t][0]) / (expert[t][0] - zero[t][0]) for t in tasks]
        )

    def _of_studies(self, scale: str) -> Iterator[MeasuredMerge]:
        view = self.view
        for study in self._studies:
            if study["family"] == view["family"] and study["seeds"] == view["seeds"]:
                for point in study["points"]:
                    if point["scale"] == scale:
                        is_count = study["study"] == "number"
                        count = point["x"] if is_count else len(self.seen)
                        yield self._measured(point, scale, "input", count)

    def _measured(self, row: Mapping[str, Any], scale: str, rank: str, count: int) -> MeasuredMerge:
        return MeasuredMerge(
            MergeId(row["merge"], rank, count),
            scale,
            None if scale == "norm-matched" else row["factors"][0],
            row["tasks"],
            {target: row[target] for target in ("seen", "unseen", "worst")},
            {float(factor): score for factor, score in row.get("tried", {}).items()},
        )
