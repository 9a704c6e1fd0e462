"""Made-up results: models whose task averages are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robustmerge_bench.mini.runs.results import Result
from robustmerge_bench.results.resampling import LEVEL, ScoreEstimate, Scores, resample_means

Averages = Mapping[str, float]

SEEN = ("sqa", "rec")
UNSEEN = ("aok",)
TASKS = {"sqa": True, "rec": True, "aok": False}


def scores(average: float, items: int = 200) -> np.ndarray:
    """Scores [items] of 0 and 100 with this average; the same items are the easy ones."""
    right = round(average * items / 100)
    return np.repeat([100.0, 0.0], [right, items - right])


def result(
    kind: str,
    averages: Averages,
    *,
    seed: int = 0,
    family: str = "shared",
    items: int = 200,
    factor: float = 1.0,
    at_limit: bool = False,
    seconds: float = 1.5,
    **facts: Any,
) -> Result:
    """A result; `task` is an expert's, `contender`, `scale` and `rank` a merge's."""
    all_facts = {
        "kind": kind,
        "family": "" if kind == "zero-shot" else family,
        "seed": seed,
        "task": "",
        "tasks": {task: TASKS[task] for task in averages},
        "items": items,
        "hashes": {"base": "b", "world": "w"},
        **facts,
    }
    results = {task: scores(average, items) for task, average in averages.items()}
    swept = {"tried": {}, "at_limit": at_limit} if facts.get("scale") == "sweep" else {}
    return Result(all_facts, results, factor, swept, {"merge": seconds})


def merge(
    name: str,
    averages: Averages,
    scale: str = "default",
    rank: str = "input",
    **more: Any,
) -> Result:
    return result("merge", averages, contender=name, scale=scale, rank=rank, **more)


def references(
    zero_shot: Sequence[float] = (40, 20, 30),
    experts: Sequence[float] = (80, 60),
    joint: Sequence[float] | None = (78, 60, 40),
    seeds: Sequence[int] = (0,),
) -> list[Result]:
    """Zero-shot, experts and joint; on sqa, rec and aok."""
    results = [result("zero-shot", dict(zip(TASKS, zero_shot, strict=True)))]
    for seed in seeds:
        for task, average in zip(SEEN, experts, strict=True):
            results.append(result("expert", {task: average}, task=task, seed=seed))
        if joint:
            results.append(result("joint", dict(zip(TASKS, joint, strict=True)), seed=seed))
    return results


def on(sqa: float, rec: float, aok: float) -> Averages:
    """Averages on the three tasks."""
    return {"sqa": sqa, "rec": rec, "aok": aok}


def estimate_mean(
    scores: Scores, *, level: float = LEVEL, draws: int = 2000, seed: int = 0
) -> ScoreEstimate:
    """Estimate a mean score, over tasks that count the same where there are several."""
    values, drawn = resample_means({"": scores}, draws, seed)
    return ScoreEstimate.of(values[""], drawn[:, 0], level)
