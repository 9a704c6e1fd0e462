"""The jobs of a comparison of merges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .contender import Contender, Protocol, Rank
from .folders import ExpertSet, base_folder, hash_of_adapter, hash_of_base
from .job import EvaluationJob
from .world import World, WorldTask

_HASHED_ITEMS = 8  # first items of each split that the hash of the world covers


@dataclass(frozen=True)
class Comparison:
    """A comparison of merges.

    Attributes:
        contenders: The merges, at any scale and rank.
        items: Test items per task.
        validation: Validation items per seen task, for sweeps and for methods that need data.
        matrix: Every expert on every task, rather than on its own.
    """

    contenders: Sequence[Contender]
    ranks: Sequence[Rank] = ("input",)
    scales: Sequence[Protocol] = ("default",)
    items: int = 500
    validation: int = 100
    matrix: bool = False


def make_jobs(
    root: Path, sets: Sequence[ExpertSet], comparison: Comparison, world: World
) -> list[EvaluationJob]:
    """Return all jobs, beginning with the references that merges are compared with.

    Raises:
        MergeError: a method does not go with its steps or with a scale
    """
    contenders = [
        replace(contender, scale=scale, rank=rank)
        for scale in comparison.scales
        for rank in comparison.ranks
        for contender in comparison.contenders
    ]
    for merge in contenders:
        merge.check()
    tasks = world.tasks()
    base = base_folder(root)
    hashes = {"base": hash_of_base(base), "world": hash_of_world(tasks)}
    flags = {name: task.seen for name, task in tasks.items()}
    plain = EvaluationJob("zero-shot", flags, comparison.items, base, hashes)
    merges = [_merge_all(each, plain) for each in sets]
    jobs = [plain]
    for each, merge_job in zip(sets, merges, strict=True):
        jobs += _references(each, merge_job, matrix=comparison.matrix)
    # One method on all sets before the next method, so that tables of an unfinished run are fair.
    for merge in contenders:
        validation = comparison.validation if merge.scale == "sweep" else 0
        unlabeled = merge.unlabeled(comparison.validation)
        jobs += [
            replace(job, merge=merge, validation=validation, unlabeled=unlabeled) for job in merges
        ]
    return jobs


def _merge_all(each: ExpertSet, plain: EvaluationJob) -> EvaluationJob:
    """Return the merge of all experts of a set, for any contender."""
    folders = each.adapters(plain.seen)
    own = {name: hash_of_adapter(folder) for name, folder in zip(plain.seen, folders, strict=True)}
    return replace(
        plain,
        kind="merge",
        hashes={**plain.hashes, **own},
        family=each.family,
        seed=each.seed,
        adapters=folders,
    )


def _references(each: ExpertSet, merge: EvaluationJob, *, matrix: bool) -> Iterator[EvaluationJob]:
    """Yield every expert, and the adapter trained on all tasks."""
    common = {name: merge.hashes[name] for name in ("base", "world")}
    for folder in merge.adapters:
        task = folder.name
        yield replace(
            merge,
            kind="expert",
            tasks=merge.tasks if matrix else {task: True},
            hashes={**common, task: merge.hashes[task]},
            adapters=(folder,),
            task=task,
        )
    if each.joint:
        own = {**common, "joint": hash_of_adapter(each.joint)}
        yield replace(merge, kind="joint", hashes=own, adapters=(each.joint,))


def hash_of_world(tasks: Mapping[str, WorldTask]) -> str:
    """Return the SHA-256 of the first items of every task, which identify a world."""
    digest = hashlib.sha256()
    for name, task in tasks.items():
        for split in ("validation", "test"):
            for item in task.items(split, _HASHED_ITEMS):
                words = (name, split, item.kind, item.prompt, item.answer, *item.references)
                digest.update("\0".join(words).encode())
                digest.update(str(item.image.shape).encode() + item.image.tobytes())
    return digest.hexdigest()
