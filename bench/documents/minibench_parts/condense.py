"""Results made small: means and intervals instead of the score of every item.

A score is [value, low, high], with its interval at 95 %; null where it means nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from robustmerge_bench.mini.ranking.families import ExpertFamily, group_results
from robustmerge_bench.mini.ranking.gates import check_gates, relative_sizes
from robustmerge_bench.mini.ranking.summary import (
    FamilySummary,
    ModelSummary,
    RankedMerge,
    Ranking,
    summarize_family,
)
from robustmerge_bench.mini.runs.folders import ExpertSet, base_folder
from robustmerge_bench.mini.runs.results import Result
from robustmerge_bench.results.comparison import count_wins_and_losses
from robustmerge_bench.results.resampling import DRAWS, ScoreEstimate

from .jobs import StudyCase, folder_of_result, without

Data = dict[str, Any]


def condense_views(
    results: Sequence[Result],
    items: int,
    sizes: Sizes,
    draws: int = DRAWS,
    judged: Literal["input", "full"] = "full",
) -> list[Data]:
    """Condense every family of expert sets; and the fullest seed, where not all seeds are done.

    Args:
        results: Of all methods, with what they are compared with.
        items: Only those over so many items per task.
        sizes: Gives the relative size of every expert of a family and its seeds.
        draws: Of the bootstrap.
        judged: The rank of the merges that gates judge.

    Raises:
        MergeError: the results do not belong together, or some are missing.
    """
    results = [result for result in results if result.facts["items"] == items]
    views = []
    for family in group_results(results):
        if family.merges or not family.incomplete:
            views.append(_view(summarize_family(family, draws=draws), results, sizes, judged))
        if family.incomplete:
            fullest = _fullest_seed(results, family)
            (alone,) = group_results(fullest)
            views.append(_view(summarize_family(alone, draws=draws), fullest, sizes, judged))
    return views


def _fullest_seed(results: Sequence[Result], family: ExpertFamily) -> list[Result]:
    """Select the results of the seed that has most, with those of the base."""
    by_seed = {
        seed: [
            r
            for r in results
            if r.facts["kind"] == "zero-shot"
            or (r.facts["family"], r.facts["seed"]) == (family.name, seed)
        ]
        for seed in family.seeds
    }
    return by_seed[max(family.seeds, key=lambda seed: (len(by_seed[seed]), -seed))]


Sizes = Callable[[str, Sequence[int], Sequence[str]], dict[str, float]]


def sizes_in(sets: Iterable[ExpertSet], root: Path) -> Sizes:
    """Return a function that measures experts on disk, given a family, seeds and tasks."""
    by_name = {(each.family, each.seed): each for each in sets}

    def sizes(family: str, seeds: Sequence[int], tasks: Sequence[str]) -> dict[str, float]:
        selected = [by_name[family, seed] for seed in seeds if (family, seed) in by_name]
        return relative_sizes(selected, base_folder(root), tasks)

    return sizes


def _view(
    summary: FamilySummary,
    results: Sequence[Result],
    sizes: Sizes,
    judged: Literal["input", "full"],
) -> Data:
    """Condense one family."""
    family = summary.family
    measured = sizes(family.name, family.seeds, family.seen)
    curves = _sweeps(results, family.name, family.seeds)
    hashes = next(r.facts["hashes"] for r in results if r.facts["kind"] == "zero-shot")
    return {
        "family": family.name,
        "seeds": list(family.seeds),
        "items": {task: scores.shape[1] for task, scores in family.zero_shot.items()},
        "seen": list(family.seen),
        "unseen": list(family.unseen),
        "hashes": {name: hashes[name] for name in ("base", "world")},
        "zero_shot": _summary(summary.zero_shot),
        "experts": _summary(summary.experts),
        "joint": _summary(summary.joint) if summary.joint else None,
        "matrix": {
            expert: {task: round(float(values.mean()), 2) for task, values in scores.items()}
            for expert, scores in family.matrix.items()
        },
        "gates": [asdict(gate) for gate in check_gates(summary, measured, rank=judged)],
        "incomplete": sorted(family.incomplete),
        "sections": [_section(ranking, curves) for ranking in summary.rankings],
    }


Curves = dict[tuple[str, str], dict[str, float]]


def _sweeps(results: Sequence[Result], family: str, seeds: Sequence[int]) -> Curves:
    """Return mean validation scores of the factors that all seeds tried, by label and rank."""
    tried: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for r in results:
        if (r.facts["family"], r.facts["seed"]) in {(family, seed) for seed in seeds} and r.sweep:
            tried[r.facts["contender"], r.facts["rank"]].append(r.sweep["tried"])
    return {
        key: {
            factor: round(sum(scores[factor] for scores in by_seed) / len(by_seed), 2)
            for factor in by_seed[0]
            if all(factor in scores for scores in by_seed)
        }
        for key, by_seed in tried.items()
    }


def _section(ranking: Ranking, curves: Curves) -> Data:
    labels = [row.merge.label for row in ranking.rows]
    signs = {(label, label): "." for label in labels}
    for pair in ranking.comparisons:
        for each in (pair, pair.reversed()):
            signs[each.first, each.second] = _sign(each.winner, each.first)
    return {
        "scale": ranking.scale,
        "rank": ranking.rank,
        "order": labels,
        "beats": {each: "".join(signs[each, other] for other in labels) for each in labels},
        "rows": [_row(row, ranking, curves) for row in ranking.rows],
    }


def _sign(winner: str, label: str) -> str:
    """Return + for a model that beats the other, - for one that is beaten, else a point."""
    return "." if not winner else "+" if winner == label else "-"


def _row(row: RankedMerge, ranking: Ranking, curves: Curves) -> Data:
    merge = row.merge
    won, lost = count_wins_and_losses(ranking.comparisons, merge.label)
    by_seed = zip(*(merge.scores[task].mean(axis=1) for task in ranking.seen), strict=True)
    data = {
        "merge": merge.label,
        **_summary(row.summary),
        "by_seed": [round(float(sum(scores)) / len(scores), 2) for scores in by_seed],
        "factors": [round(factor, 4) for factor in merge.factors],
        "at_limit": merge.at_limit,
        "seconds": round(merge.seconds, 2),
        "won": won,
        "lost": lost,
    }
    if ranking.scale == "sweep":
        data["tried"] = curves.get((merge.label, merge.rank), {})
    return data


def _summary(summary: ModelSummary) -> Data:
    return {
        "tasks": {task: _rounded(estimate) for task, estimate in summary.tasks.items()},
        "seen": _rounded(summary.seen),
        "worst": _rounded(summary.worst),
        "worst_task": summary.worst_task,
        "unseen": _rounded(summary.unseen),
        "kept": _rounded(summary.kept),
        "normalized": _rounded(summary.normalized),
    }


def _rounded(estimate: ScoreEstimate | None) -> list[float] | None:
    if estimate is None or not math.isfinite(estimate.value):
        return None
    values = (estimate.value, estimate.low, estimate.high)
    return [round(value, 2) for value in values if math.isfinite(value)]


# --- Studies --------------------------------------------------------------------------------------


def condense_studies(cases: Sequence[StudyCase], out: Path, draws: int = DRAWS) -> list[Data]:
    """Condense every study as far as it was run, and name what was not."""
    by_study: dict[str, list[StudyCase]] = defaultdict(list)
    for case in cases:
        by_study[case.study.name].append(case)
    return [_study(group, out, draws) for group in by_study.values()]


def _study(cases: Sequence[StudyCase], out: Path, draws: int) -> Data:
    study = cases[0].study
    points, missing = [], []
    groups: dict[tuple[int, float | None, str], list[StudyCase]] = defaultdict(list)
    for case in cases:
        # Merges of other numbers of tasks, or of other experts, have other references.
        x = case.point.x if case.study.name in ("number", "rank") else None
        groups[case.point.count, x, case.scale].append(case)
    for group in groups.values():
        done = _done(group, out)
        keys = {_key(case) for case in done}
        missing += dict.fromkeys((*_key(c), c.scale) for c in group if _key(c) not in keys)
        points += _points(done, out, draws)
    return {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "x_label": study.x_label,
        "seeds": sorted({case.job.seed for case in cases}),
        "family": cases[0].job.family.partition("-rank")[0],
        "missing": [list(each) for each in missing],
        "points": points,
    }


def _key(case: StudyCase) -> tuple[str, float | None]:
    return case.point.row, case.point.x


def _read(job: Any, out: Path) -> Result | None:
    """Read a job's result from whichever folder has it."""
    folder = folder_of_result(job, out)
    return Result.read(folder / job.file) if folder else None


def _done(cases: Sequence[StudyCase], out: Path) -> list[StudyCase]:
    """Select the cases of a group whose merges are done for every seed, if the references are."""
    references = [job for case in cases[:1] for job in case.references if job.kind != "joint"]
    if any(_read(job, out) is None for job in references):
        return []
    incomplete = {_key(case) for case in cases if _read(case.job, out) is None}
    return [case for case in cases if _key(case) not in incomplete]


def _points(cases: Sequence[StudyCase], out: Path, draws: int) -> list[Data]:
    """Sum up and compare a group of cases with the same references."""
    if not cases:
        return []
    results = {case.job.file: _read(case.job, out) for case in cases}
    references = [result for job in cases[0].references if (result := _read(job, out))]
    left_out = set(references[0].scores) - set(cases[0].job.tasks)
    references = [restrict(r, left_out) for r in references if r.facts["task"] not in left_out]
    (family,) = group_results([*references, *(r for r in results.values() if r)])
    summary = summarize_family(family, draws=draws)
    (ranking,) = summary.rankings
    rows = {row.merge.label: row for row in ranking.rows}
    points: dict[tuple[str, float | None], Data] = {}
    for case in cases:
        assert case.job.merge
        row = rows[case.job.merge.label]
        points[_key(case)] = {
            "row": case.point.row,
            "x": case.point.x,
            "scale": case.scale,
            "paper": list(case.point.paper),
            "zero_shot": _means(summary.zero_shot),
            "experts": _means(summary.experts),
            **without(_row(row, ranking, {}), ["tried"]),
        }
    return list(points.values())


def _means(summary: ModelSummary) -> dict[str, float | None]:
    return {
        "seen": round(summary.seen.value, 2),
        "unseen": round(summary.unseen.value, 2) if summary.unseen else None,
    }


def restrict(result: Result, left_out: set[str]) -> Result:
    """Leave out some tasks of a result."""
    facts = {**result.facts, "tasks": without(result.facts["tasks"], left_out)}
    return replace(result, facts=facts, scores=without(result.scores, left_out))
