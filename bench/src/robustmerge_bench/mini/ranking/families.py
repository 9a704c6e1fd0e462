"""The scores of every family of expert sets: of its models, over its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from robustmerge.errors import MergeError, few

from ...results.resampling import TaskScores
from ..runs.results import Result

_HINT = "keep results of different benchmarks apart: another --out, or remove the old files"


@dataclass(frozen=True)
class MergeScores:
    """A merge over the seeds of a family.

    Attributes:
        label: Method, parameters and steps.
        scores: Per task the scores [seeds, items].
        factors: What the update was multiplied by, for every seed.
        at_limit: Whether a sweep ended at the last factor that it may try.
        seconds: What one merge took on average.
    """

    label: str
    scale: str
    rank: str
    scores: TaskScores
    factors: tuple[float, ...]
    at_limit: bool
    seconds: float


@dataclass(frozen=True)
class ExpertFamily:
    """Expert sets that differ by their seed, and the scores of their merges.

    Attributes:
        name: Such as shared or independent-frozen.
        zero_shot: The base's scores; one row.
        experts: Every seen task's own expert.
        matrix: Scores of every expert on all tasks, by its own task, where they were measured.
        joint: The adapter trained on all tasks, where there is one for every seed.
        merges: The merges that were measured for every seed.
        incomplete: Labels of those that were not.
    """

    name: str
    seeds: tuple[int, ...]
    zero_shot: TaskScores
    experts: TaskScores
    merges: tuple[MergeScores, ...]
    matrix: Mapping[str, TaskScores] = field(default_factory=dict)
    joint: TaskScores | None = None
    incomplete: tuple[str, ...] = ()

    @property
    def seen(self) -> tuple[str, ...]:
        """The tasks that have an expert."""
        return tuple(self.experts)

    @property
    def unseen(self) -> tuple[str, ...]:
        """The others."""
        return tuple(task for task in self.zero_shot if task not in self.experts)


def group_results(results: Sequence[Result], items: int | None = None) -> list[ExpertFamily]:
    """Group results by family of expert sets.

    The results are all of one benchmark. `items` selects those over so many items per task.

    Raises:
        MergeError: Results of different benchmarks, or none of the base or of an expert.
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


def _family(name: str, base: Result, results: Sequence[Result]) -> ExpertFamily:
    by_kind: dict[str, list[Result]] = defaultdict(list)
    merges: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda r: r.facts["seed"]):
        facts = result.facts
        by_kind[facts["kind"]].append(result)
        if facts["kind"] == "merge":
            merges[facts["contender"], facts["scale"], facts["rank"]].append(result)
    seeds = tuple(sorted({r.facts["seed"] for r in results}))
    tasks = list(base.scores)
    experts = _experts(name, by_kind["expert"], seeds, [t for t in tasks if base.facts["tasks"][t]])
    joint = by_kind["joint"]
    return ExpertFamily(
        name,
        seeds,
        zero_shot=_stack([base], tasks),
        experts={task: _stack(own, [task])[task] for task, own in experts.items()},
        merges=tuple(
            _merge(key, group, tasks) for key, group in merges.items() if len(group) == len(seeds)
        ),
        matrix={
            task: _stack(own, tasks)
            for task, own in experts.items()
            if all(set(r.scores) == set(tasks) for r in own)
        },
        joint=_stack(joint, tasks) if len(joint) == len(seeds) else None,
        incomplete=tuple(" ".join(k) for k, group in merges.items() if len(group) < len(seeds)),
    )


def _experts(
    family: str, results: Iterable[Result], seeds: Sequence[int], seen: Sequence[str]
) -> dict[str, list[Result]]:
    """Return results of every seen task's expert by seed; of two, the one on more tasks."""
    experts = {
        (result.facts["task"], result.facts["seed"]): result
        for result in sorted(results, key=lambda r: len(r.scores))
    }
    missing = [f"{t} of {family}-{s}" for t in seen for s in seeds if (t, s) not in experts]
    if missing:
        raise MergeError(
            f"no results of experts: {few(missing)}",
            hint="run `robustmerge bench mini run` to its end",
        )
    return {task: [experts[task, seed] for seed in seeds] for task in seen}


def _merge(
    key: tuple[str, str, str], results: Sequence[Result], tasks: Sequence[str]
) -> MergeScores:
    return MergeScores(
        *key,
        scores=_stack(results, tasks),
        factors=tuple(r.factor for r in results),
        at_limit=any(r.sweep.get("at_limit") for r in results),
        seconds=float(np.mean([r.seconds.get("merge", 0.0) for r in results])),
    )


def _stack(results: Sequence[Result], tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """Stack the scores [seeds, items] of these tasks."""
    return {task: np.stack([r.scores[task] for r in results]) for task in tasks}


def _check_alike(results: Sequence[Result]) -> None:
    """Check that all results are of one base, one world, and one set of experts per name."""
    values: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for result in results:
        f = result.facts
        values["items per task",].add(str(f["items"]))
        for name, value in f["hashes"].items():
            owner = () if name in ("base", "world") else (f["family"], f["seed"])
            values[(name, *owner)].add(value)
        identity = [f.get(k) for k in ("kind", "task", "contender", "scale", "rank")]
        values[("result", f["family"], f["seed"], *identity, *f["tasks"])].add(str(f))
    for what, several in values.items():
        if len(several) > 1:
            name = " ".join(str(part) for part in what if part not in (None, ""))
            shown = ", ".join(sorted(value[:12] for value in several))
            where = f"{name}: {shown}" if what[0] != "result" else name
            hint = "--items N picks those over N items" if what[0] == "items per task" else _HINT
            raise MergeError("results that do not belong together", where=where, hint=hint)


def _family_order(name: str) -> tuple[bool, str]:
    return (not name.startswith("shared"), name)
