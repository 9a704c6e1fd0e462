"""Results made small: means and intervals instead of the score of every item.

A figure is [value, low, high], the interval at 95 %; null where it means nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from robustmerge_bench.figure import ScoreEstimate
from robustmerge_bench.mini.judge.board import gather
from robustmerge_bench.mini.judge.gates import gates
from robustmerge_bench.mini.judge.sizes import relative_size
from robustmerge_bench.mini.judge.standing import Row, Section, Standing, stand
from robustmerge_bench.mini.judge.summary import Summary
from robustmerge_bench.mini.judge.versus import record
from robustmerge_bench.mini.runs.folders import ExpertSet, base_folder
from robustmerge_bench.mini.runs.results import Result

from .jobs import Case, place, without

Data = dict[str, Any]
DRAWS = 2000


def view_all(results: Sequence[Result], items: int, sizes: Sizes, draws: int = DRAWS) -> list[Data]:
    """Every family of sets of experts; where seeds differ in what was run, the fullest seed, too.

    Args:
        results: Of all methods, with what they are compared with.
        items: Only those over so many items per task.
        sizes: Gives the relative size of every expert of a family and its seeds.
        draws: Of the bootstrap.

    Raises:
        MergeError: The results do not belong together, or some are missing.
    """
    results = [result for result in results if result.facts["items"] == items]
    views = []
    for family in gather(results):
        if family.merges or not family.incomplete:
            views.append(view(stand(family, draws=draws), results, sizes))
        if family.incomplete:
            of_seed = {
                seed: [
                    r
                    for r in results
                    if r.facts["kind"] == "zero-shot"
                    or (r.facts["family"], r.facts["seed"]) == (family.name, seed)
                ]
                for seed in family.seeds
            }
            fullest = max(family.seeds, key=lambda seed: (len(of_seed[seed]), -seed))
            (alone,) = gather(of_seed[fullest])
            views.append(view(stand(alone, draws=draws), of_seed[fullest], sizes))
    return views


Sizes = Callable[[str, Sequence[int], Sequence[str]], dict[str, float]]


def sizes_in(sets: Iterable[ExpertSet], root: Path) -> Sizes:
    """Relative sizes of experts on disk: for a family, seeds and tasks, by a readable name."""
    there = {(each.family, each.seed): each for each in sets}

    def sizes(family: str, seeds: Sequence[int], tasks: Sequence[str]) -> dict[str, float]:
        chosen = [there[family, seed] for seed in seeds if (family, seed) in there]
        return {
            f"{folder.name} of {each.name}": relative_size(folder, base_folder(root))
            for each in chosen
            for folder in each.adapters(tasks)
        }

    return sizes


def view(standing: Standing, results: Sequence[Result], sizes: Sizes) -> Data:
    """One family."""
    family = standing.family
    measured = sizes(family.name, family.seeds, family.seen)
    curves = _sweeps(results, family.name, family.seeds)
    return {
        "family": family.name,
        "seeds": list(family.seeds),
        "items": {task: scores.shape[1] for task, scores in family.zero_shot.items()},
        "seen": list(family.seen),
        "unseen": list(family.unseen),
        "hashes": _hashes(results),
        "zero_shot": _summary(standing.zero_shot),
        "experts": _summary(standing.experts),
        "joint": _summary(standing.joint) if standing.joint else None,
        "matrix": {
            expert: {task: round(float(values.mean()), 2) for task, values in scores.items()}
            for expert, scores in family.matrix.items()
        },
        "gates": [asdict(gate) for gate in gates(standing, measured)],
        "incomplete": sorted(family.incomplete),
        "sections": [_section(section, curves) for section in standing.sections],
    }


def _hashes(results: Sequence[Result]) -> dict[str, str]:
    said = next(r.facts["hashes"] for r in results if r.facts["kind"] == "zero-shot")
    return {name: said[name] for name in ("base", "world")}


Curves = dict[tuple[str, str], dict[str, float]]


def _sweeps(results: Sequence[Result], family: str, seeds: Sequence[int]) -> Curves:
    """What every factor that all seeds tried was worth on validation items, by label and rank."""
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for r in results:
        if (r.facts["family"], r.facts["seed"]) in {(family, seed) for seed in seeds} and r.sweep:
            found[r.facts["contender"], r.facts["rank"]].append(r.sweep["tried"])
    return {
        key: {
            factor: round(sum(tried[factor] for tried in all_tried) / len(all_tried), 2)
            for factor in all_tried[0]
            if all(factor in tried for tried in all_tried)
        }
        for key, all_tried in found.items()
    }


def _section(section: Section, curves: Curves) -> Data:
    labels = [row.entry.label for row in section.rows]
    winner = {frozenset((duel.first, duel.second)): duel.winner for duel in section.duels}
    signs = {
        one: "".join(_sign(winner.get(frozenset((one, other)), ""), one) for other in labels)
        for one in labels
    }
    return {
        "scale": section.scale,
        "rank": section.rank,
        "order": labels,
        "beats": signs,
        "rows": [_row(row, section, curves) for row in section.rows],
    }


def _sign(winner: str, one: str) -> str:
    """+ for who beats the other, - for who is beaten, . where nobody is."""
    return "." if not winner else "+" if winner == one else "-"


def _row(row: Row, section: Section, curves: Curves) -> Data:
    entry = row.entry
    won, lost = record(section.duels, entry.label)
    seen = section.seen
    by_seed = zip(*(entry.scores[task].mean(axis=1) for task in seen), strict=True)
    found = {
        "merge": entry.label,
        **_summary(row.summary),
        "by_seed": [round(float(sum(scores)) / len(seen), 2) for scores in by_seed],
        "factors": [round(factor, 4) for factor in entry.factors],
        "at_limit": entry.at_limit,
        "seconds": round(entry.seconds, 2),
        "won": won,
        "lost": lost,
    }
    if section.scale == "sweep":
        found["tried"] = curves.get((entry.label, entry.rank), {})
    return found


def _summary(summary: Summary) -> Data:
    return {
        "tasks": {task: _figure(figure) for task, figure in summary.tasks.items()},
        "seen": _figure(summary.seen),
        "worst": _figure(summary.worst),
        "worst_task": summary.worst_task,
        "unseen": _figure(summary.unseen),
        "kept": _figure(summary.kept),
        "normalized": _figure(summary.normalized),
    }


def _figure(figure: ScoreEstimate | None) -> list[float] | None:
    if figure is None or not math.isfinite(figure.value):
        return None
    values = (figure.value, figure.low, figure.high)
    return [round(value, 2) for value in values if math.isfinite(value)]


def studied(cases: Sequence[Case], out: Path, draws: int = DRAWS) -> list[Data]:
    """Every study as far as it was run; what was not is named."""
    by_study: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_study[case.study.name].append(case)
    return [_study(group, out, draws) for group in by_study.values()]


def _study(cases: Sequence[Case], out: Path, draws: int) -> Data:
    study = cases[0].study
    read = _Reader(out)
    points, missing = [], []
    together: dict[tuple[int, float | None, str], list[Case]] = defaultdict(list)
    for case in cases:
        # Merges of other numbers of tasks, or of other experts, have other references.
        x = case.point.x if case.study.name in ("number", "rank") else None
        together[case.point.count, x, case.scale].append(case)
    for group in together.values():
        done = _done(group, read)
        there = {_key(case) for case in done}
        gone = dict.fromkeys((*_key(c), c.scale) for c in group if _key(c) not in there)
        missing += [list(each) for each in gone]
        points += _points(done, read, draws)
    return {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "x_label": study.x_label,
        "seeds": sorted({case.job.seed for case in cases}),
        "family": cases[0].job.family.partition("-rank")[0],
        "missing": missing,
        "points": points,
    }


def _key(case: Case) -> tuple[str, float | None]:
    return case.point.row, case.point.x


class _Reader:
    """Results by job, from whichever folder has them."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __call__(self, job: Any) -> Result | None:
        folder = place(job, self._out)
        return Result.read(folder / job.file) if folder else None


def _done(cases: Sequence[Case], read: _Reader) -> list[Case]:
    """The cases of a group whose merge is there for every seed, if the references are."""
    if any(
        read(job) is None for case in cases[:1] for job in case.references if job.kind != "joint"
    ):
        return []
    there = {id(case) for case in cases if read(case.job)}
    short = {_key(case) for case in cases if id(case) not in there}
    return [case for case in cases if _key(case) not in short]


def _points(cases: Sequence[Case], read: _Reader, draws: int) -> list[Data]:
    """A group of cases with the same references, summed up and compared."""
    if not cases:
        return []
    results = {case.job.file: read(case.job) for case in cases}
    references = [found for job in cases[0].references if (found := read(job))]
    left_out = set(references[0].scores) - set(cases[0].job.tasks)
    references = [restricted(r, left_out) for r in references if r.facts["task"] not in left_out]
    (family,) = gather([*references, *(r for r in results.values() if r)])
    standing = stand(family, draws=draws)
    (section,) = standing.sections
    rows = {row.entry.label: row for row in section.rows}
    points: dict[tuple[str, float | None], Data] = {}
    for case in cases:
        assert case.job.merge
        row = rows[case.job.merge.contender.label]
        points[_key(case)] = {
            "row": case.point.row,
            "x": case.point.x,
            "scale": case.scale,
            "paper": list(case.point.paper),
            "zero_shot": _means(standing.zero_shot),
            "experts": _means(standing.experts),
            **without(_row(row, section, {}), ["tried"]),
        }
    return list(points.values())


def _means(summary: Summary) -> dict[str, float | None]:
    return {
        "seen": round(summary.seen.value, 2),
        "unseen": round(summary.unseen.value, 2) if summary.unseen else None,
    }


def restricted(result: Result, left_out: set[str]) -> Result:
    """A result without some of its tasks."""
    facts = {**result.facts, "tasks": without(result.facts["tasks"], left_out)}
    return replace(result, facts=facts, scores=without(result.scores, left_out))
