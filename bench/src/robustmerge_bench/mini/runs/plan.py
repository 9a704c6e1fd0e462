"""Which jobs there are to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .contender import Contender
from .folders import ExpertSet, base_folder, hash_of_adapter, hash_of_base
from .job import EvaluationJob, Merge, Protocol, Rank
from .world import World, WorldTask

_GLANCE = 8  # items of each split that the hash of the world looks at


@dataclass(frozen=True)
class Comparison:
    """What is to be judged, and how.

    Attributes:
        contenders: The merges.
        ranks: Ranks of their results.
        scales: Scale protocols.
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
    root: Path, sets: Sequence[ExpertSet], study: Comparison, world: World
) -> list[EvaluationJob]:
    """All jobs, those that others are compared with first.

    Raises:
        MergeError: The base or an expert is not there.
    """
    tasks = world.tasks()
    base = base_folder(root)
    hashes = {"base": hash_of_base(base), "world": hash_of_world(tasks)}
    flags = {name: task.seen for name, task in tasks.items()}
    plain = EvaluationJob("zero-shot", flags, study.items, base, hashes)
    ready = [_whole(each, plain) for each in sets]
    jobs = [plain]
    for each, whole in zip(sets, ready, strict=True):
        jobs += _references(each, whole, matrix=study.matrix)
    # All sets meet a method before the next one, so that a table in between is fair.
    for scale in study.scales:
        validation = study.validation if scale == "sweep" else 0
        for rank in study.ranks:
            for contender in study.contenders:
                how = Merge(contender, scale, rank)
                given = study.validation if contender.statistics else 0
                jobs += [
                    replace(whole, merge=how, validation=validation, unlabeled=given)
                    for whole in ready
                ]
    return jobs


def _whole(each: ExpertSet, plain: EvaluationJob) -> EvaluationJob:
    """A merge of all experts of a set, but for how."""
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


def _references(each: ExpertSet, whole: EvaluationJob, *, matrix: bool) -> Iterator[EvaluationJob]:
    """Every expert, and the adapter trained on all tasks."""
    common = {name: whole.hashes[name] for name in ("base", "world")}
    for folder in whole.adapters:
        task = folder.name
        yield replace(
            whole,
            kind="expert",
            tasks=whole.tasks if matrix else {task: True},
            hashes={**common, task: whole.hashes[task]},
            adapters=(folder,),
            task=task,
        )
    if each.joint:
        own = {**common, "joint": hash_of_adapter(each.joint)}
        yield replace(whole, kind="joint", hashes=own, adapters=(each.joint,))


def hash_of_world(tasks: Mapping[str, WorldTask]) -> str:
    """SHA-256 of the first items of every task: another world shows in them."""
    found = hashlib.sha256()
    for name, task in tasks.items():
        for split in ("validation", "test"):
            for item in task.items(split, _GLANCE):
                words = (name, split, item.kind, item.prompt, item.answer, *item.references)
                found.update("\0".join(words).encode())
                found.update(str(item.image.shape).encode() + item.image.tobytes())
    return found.hexdigest()
