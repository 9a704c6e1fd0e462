"""Results put together: for every family of expert sets, what its models scored over its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robustmerge.errors import MergeError, few

from ..runs.results import Result
from .resample import Scores

_HINT = "keep results of different benchmarks apart: another --out, or remove the old files"


@dataclass(frozen=True)
class Entry:
    """A merge over the seeds of a family.

    Attributes:
        label: Method, parameters and steps.
        scale: The scale protocol.
        rank: Rank of the result.
        scores: Per task the scores [seeds, items].
        factors: What the update was multiplied by, for every seed.
        at_limit: A sweep ended at the last factor it may try.
        seconds: What one merge took on average.
    """

    label: str
    scale: str
    rank: str
    scores: Scores
    factors: tuple[float, ...]
    at_limit: bool
    seconds: float


@dataclass(frozen=True)
class Family:
    """Expert sets that differ by their seed, and what was made of them.

    Attributes:
        name: Such as shared or independent-frozen.
        seeds: The seeds, in order.
        zero_shot: The base's scores; one row.
        experts: Every seen task's own expert.
        matrix: Every expert on all tasks, by its task, where that was examined.
        joint: The adapter trained on all tasks, where there is one for every seed.
        merges: The merges that were examined for every seed.
        incomplete: Labels of those that were not.
    """

    name: str
    seeds: tuple[int, ...]
    zero_shot: Scores
    experts: Scores
    merges: tuple[Entry, ...]
    matrix: Mapping[str, Scores] = field(default_factory=dict)
    joint: Scores | None = None
    incomplete: tuple[str, ...] = ()

    @property
    def seen(self) -> tuple[str, ...]:
        """The tasks that have an expert."""
        return tuple(self.experts)

    @property
    def unseen(self) -> tuple[str, ...]:
        """The others."""
        return tuple(task for task in self.zero_shot if task not in self.experts)


def gather(results: Sequence[Result], items: int | None = None) -> list[Family]:
    """Put results together.

    Args:
        results: All of one benchmark.
        items: Only those over so many items per task.

    Raises:
        MergeError: They are of different benchmarks, or the base and the experts are not all there.
    """
    results = [r for r in results if items in (None, r.facts["items"])]
    _check_alike(results)
    zero_shot = [r for r in results if r.facts["kind"] == "zero-shot"]
    if not zero_shot:
        raise MergeError("no zero-shot result", hint="run `robustmerge bench mini run` to its end")
    base = zero_shot[0]
    names = sorted({r.facts["family"] for r in results} - {""}, key=_family_order)
    return [
        _family(name, base, [r for r in results if r.facts["family"] == name]) for name in names
    ]


def _family(name: str, base: Result, results: Sequence[Result]) -> Family:
    by_kind: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda r: r.facts["seed"]):
        by_kind[result.facts["kind"]].append(result)
    seeds = tuple(sorted({r.facts["seed"] for r in results}))
    tasks = list(base.scores)
    experts = _experts(name, by_kind["expert"], seeds, [t for t in tasks if base.facts["tasks"][t]])
    whole = {
        task: stacked(found, tasks)
        for task, found in experts.items()
        if all(set(r.scores) == set(tasks) for r in found)
    }
    joint = by_kind["joint"]
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in by_kind["merge"]:
        f = result.facts
        groups[f["contender"], f["scale"], f["rank"]].append(result)
    return Family(
        name,
        seeds,
        zero_shot=stacked([base], tasks),
        experts={t: stacked(found, [t])[t] for t, found in experts.items()},
        merges=tuple(
            _entry(key, group, tasks) for key, group in groups.items() if len(group) == len(seeds)
        ),
        matrix=whole,
        joint=stacked(joint, tasks) if len(joint) == len(seeds) else None,
        incomplete=tuple(" ".join(k) for k, group in groups.items() if len(group) < len(seeds)),
    )


def _experts(
    family: str, results: Iterable[Result], seeds: Sequence[int], seen: Sequence[str]
) -> dict[str, list[Result]]:
    """Results of every seen task's expert by seed; of two, the one on more tasks."""
    found: dict[tuple[str, int], Result] = {}
    for result in sorted(results, key=lambda r: len(r.scores)):
        found[result.facts["task"], result.facts["seed"]] = result
    missing = [f"{t} of {family}-{s}" for t in seen for s in seeds if (t, s) not in found]
    if missing:
        raise MergeError(
            f"no results of experts: {few(missing)}",
            hint="run `robustmerge bench mini run` to its end",
        )
    return {task: [found[task, seed] for seed in seeds] for task in seen}


def _entry(key: tuple[str, str, str], results: Sequence[Result], tasks: Sequence[str]) -> Entry:
    return Entry(
        *key,
        scores=stacked(results, tasks),
        factors=tuple(r.factor for r in results),
        at_limit=any(r.sweep.get("at_limit") for r in results),
        seconds=float(np.mean([r.seconds.get("merge", 0.0) for r in results])),
    )


def stacked(results: Sequence[Result], tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores [seeds, items] of these tasks."""
    return {task: np.stack([r.scores[task] for r in results]) for task in tasks}


def _check_alike(results: Sequence[Result]) -> None:
    """Check that all results are of one base, one world, and one set of experts per name.

    Raises:
        MergeError: They are not.
    """
    said: dict[tuple[object, ...], dict[str, Any]] = defaultdict(dict)
    for result in results:
        f = result.facts
        said["items per task",][str(f["items"])] = f
        for name, value in f["hashes"].items():
            whose = () if name in ("base", "world") else (f["family"], f["seed"])
            said[(name, *whose)][value] = f
        identity = [f.get(k) for k in ("kind", "task", "contender", "scale", "rank")]
        said[("result", f["family"], f["seed"], *identity, *f["tasks"])][str(f)] = f
    for what, values in said.items():
        if len(values) > 1:
            name = " ".join(str(part) for part in what if part not in (None, ""))
            given = ", ".join(sorted(value[:12] for value in values))
            where = f"{name}: {given}" if what[0] != "result" else name
            hint = "--items N picks those over N items" if what[0] == "items per task" else _HINT
            raise MergeError("results that do not belong together", where=where, hint=hint)


def _family_order(name: str) -> tuple[bool, str]:
    return (not name.startswith("shared"), name)
