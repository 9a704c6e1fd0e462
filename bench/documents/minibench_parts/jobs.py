"""Jobs of every part of the document, and an estimate of their time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypeVar

from robustmerge.errors import MergeError
from robustmerge_bench.mini.runs.contender import Contender, Protocol, Rank
from robustmerge_bench.mini.runs.folders import ExpertSet
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.plan import Comparison, make_jobs
from robustmerge_bench.mini.runs.results import Result, is_done
from robustmerge_bench.mini.runs.world import World

from .studies import RANKS, SCALES, PaperStudy, StudyPoint, at, every

_SET = re.compile(r"(shared|independent)-(\d+)(-frozen)?")
_RANKED = re.compile(r"(shared|independent)-(\d+)-rank(\d+)")
T = TypeVar("T")

STUDIES = "studies"
"""Folder of the results of studies, apart from what `robustmerge bench mini table` reads."""

ITEM_SECONDS = 16 / 6000  # of one thread, before anything is measured
MERGE_SECONDS = 2.0
SWEEP = 8
"""Factors that a sweep tries, about."""


@dataclass(frozen=True)
class DocumentRequest:
    """The request of a command line.

    Attributes:
        root: The trained benchmark.
        sets: Sets of experts for the tables of all methods.
        study_sets: Those that studies are made with; sets of one family.
        contenders: The merges of the tables.
        ranks: Ranks of their results.
        scales: Their scale protocols.
        items: Test items per task.
        validation: Validation items per seen task.
    """

    root: Path
    sets: Sequence[ExpertSet]
    study_sets: Sequence[ExpertSet]
    contenders: Sequence[Contender]
    ranks: Sequence[Rank]
    scales: Sequence[Protocol]
    items: int = 500
    validation: int = 100

    def study(
        self,
        contenders: Sequence[Contender] = (),
        scales: Sequence[Protocol] = ("default",),
        ranks: Sequence[Rank] = ("input",),
        *,
        matrix: bool = False,
    ) -> Comparison:
        """Return a comparison over the requested items."""
        return Comparison(contenders, ranks, scales, self.items, self.validation, matrix)


@dataclass(frozen=True)
class StudyCase:
    """A point of a study on a set of experts.

    Attributes:
        study: The study.
        point: The point.
        scale: The scale protocol.
        job: The model to be examined.
        references: Zero-shot, experts and joint of the same experts.
    """

    study: PaperStudy
    point: StudyPoint
    scale: Protocol
    job: EvaluationJob
    references: tuple[EvaluationJob, ...]


def sets_in(root: Path) -> list[ExpertSet]:
    """Return the expert sets in a folder, without those of other ranks.

    Raises:
        MergeError: no expert set.
    """
    sets = [
        ExpertSet(folder, match[1], int(match[2]), bool(match[3]))
        for folder in sorted((root / "experts").glob("*"))
        if (match := _SET.fullmatch(folder.name))
    ]
    if not sets:
        raise MergeError(
            "no experts",
            where=str(root / "experts"),
            hint="train them first: robustmerge bench mini train",
        )
    return sorted(sets, key=lambda each: (each.init != "shared", each.frozen, each.seed))


def select_sets(root: Path, names: Iterable[str]) -> list[ExpertSet]:
    """Return the expert sets of these names.

    Raises:
        MergeError: a set is missing.
    """
    sets = {each.name: each for each in sets_in(root)}
    if missing := [name for name in names if name not in sets]:
        raise MergeError(
            f"no experts {', '.join(missing)}",
            where=str(root / "experts"),
            hint=f"there are {', '.join(sets)}",
        )
    return [sets[name] for name in names]


def ranked(each: ExpertSet) -> list[tuple[int, ExpertSet]]:
    """Return a set and those trained like it at other ranks, by rank; none without others."""
    by_rank = {}
    for folder in sorted(each.folder.parent.glob(f"{each.name}-rank*")):
        if match := _RANKED.fullmatch(folder.name):
            rank = int(match[3])
            by_rank[rank] = ExpertSet(folder, f"{each.family}-rank{rank}", each.seed)
    if by_rank:
        by_rank[_rank_of(each.folder)] = each
    return sorted(by_rank.items())


def _rank_of(folder: Path) -> int:
    settings = sorted(folder.glob("*/adapter_config.json"))[0]
    return int(json.loads(settings.read_text(encoding="utf-8"))["r"])


def tables(request: DocumentRequest, world: World) -> list[EvaluationJob]:
    """Return jobs of every method on every set, with references."""
    study = request.study(request.contenders, request.scales, request.ranks)
    return make_jobs(request.root, request.sets, study, world)


def matrix(request: DocumentRequest, world: World) -> list[EvaluationJob]:
    """Return jobs of every expert on every task."""
    return make_jobs(request.root, request.sets, request.study(matrix=True), world)


def cases(request: DocumentRequest, world: World) -> list[StudyCase]:
    """Return every point of every study."""
    seen = sum(task.seen for task in world.tasks().values())
    points = [
        case for study in every(seen) for case in _cases(study, request.study_sets, request, world)
    ]
    for each in request.study_sets[:1]:
        for rank, other in ranked(each):
            points += _cases(at(RANKS, rank), [other], request, world)
    return points


def _cases(
    study: PaperStudy, sets: Sequence[ExpertSet], request: DocumentRequest, world: World
) -> list[StudyCase]:
    merges = {point.merge: Contender.parse(point.merge) for point in study.points}
    jobs = make_jobs(request.root, sets, request.study(tuple(merges.values()), SCALES), world)
    references = tuple(job for job in jobs if job.kind != "merge")
    by_name = {(job.merge.label, job.merge.scale, job.seed): job for job in jobs if job.merge}
    return [
        StudyCase(
            study,
            point,
            scale,
            merge_first(by_name[merges[point.merge].label, scale, each.seed], point.count),
            references,
        )
        for scale in SCALES
        for point in study.points
        for each in sets
    ]


def merge_first(job: EvaluationJob, count: int) -> EvaluationJob:
    """Merge the first experts alone, for their tasks and unseen ones; 0 for all."""
    if not count:
        return job
    left_out = [name for name, seen in job.tasks.items() if seen][count:]
    return replace(
        job,
        adapters=job.adapters[:count],
        tasks=without(job.tasks, left_out),
        hashes=without(job.hashes, left_out),
    )


def without(names: Mapping[str, T], left_out: Iterable[str]) -> dict[str, T]:
    """Leave out some names of a mapping."""
    gone = set(left_out)
    return {name: value for name, value in names.items() if name not in gone}


def folder_of_result(job: EvaluationJob, out: Path) -> Path | None:
    """Return the folder that has the job's result, if one has."""
    return next((folder for folder in (out, out / STUDIES) if is_done(job, folder)), None)


def unique(jobs: Iterable[EvaluationJob]) -> list[EvaluationJob]:
    """Return each job once."""
    return list({job.file: job for job in jobs}.values())


def estimate(jobs: Iterable[EvaluationJob], speed: EvaluationSpeed, workers: int) -> float:
    """Estimate the seconds that jobs will take."""
    return sum(map(speed.of, jobs)) / workers


@dataclass(frozen=True)
class EvaluationSpeed:
    """Seconds for an item, and for a merge by its method."""

    item: float = ITEM_SECONDS
    merge: Callable[[str], float] = lambda _: MERGE_SECONDS

    @classmethod
    def measured(cls, results: Sequence[Result]) -> EvaluationSpeed:
        """Measure it from results; guess where there are none."""
        items = [
            r.seconds["answer"] / sum(map(len, r.scores.values()))
            for r in results
            if r.seconds.get("answer")
        ]
        merges: dict[str, float] = {
            r.facts["method"]: r.seconds["merge"] for r in results if r.facts["kind"] == "merge"
        }
        return cls(
            median(items) if items else ITEM_SECONDS,
            lambda method: merges.get(method, MERGE_SECONDS),
        )

    def of(self, job: EvaluationJob) -> float:
        """Return the seconds of one thread for a job."""
        answers = job.items * len(job.tasks)
        answers += SWEEP * job.validation * sum(job.tasks.values())
        merging = self.merge(job.merge.method) if job.merge else 0.0
        return answers * self.item + merging
