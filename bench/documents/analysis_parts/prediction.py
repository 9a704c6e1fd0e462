"""Which figures go with the measured scores: over merges, and over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import rank_correlation as rho
from .benchmark_scores import BenchmarkScores, MeasuredMerge
from .diagnosed_merges import DiagnosedMerge

SHOWN = 10
"""Figures that a table shows, the strongest first."""

OF_THE_PAPER = (
    "directions.largest.both, mean, task mean",
    "directions.rest.both, mean, task mean",
    "directions.largest.left, mean, task mean",
    "directions.rest.left, mean, task mean",
    "directions.largest.right, mean, task mean",
    "directions.rest.right, mean, task mean",
    "directions.largest.both_matched, mean, task mean",
    "directions.rest.both_matched, mean, task mean",
    "directions.rest.ratio, mean, task mean",
)
"""Figure 7's, in the readings it leaves open."""

KNOWN_BEFORE = (
    "directions.largest.answer, mean, task mean",
    "kept.both, weighted, task mean",
)
"""Figures that stood out in an earlier analysis of the same merges; not independent of it."""


def at_scale(merge: DiagnosedMerge, each: MeasuredMerge) -> DiagnosedMerge:
    """Return a merge's diagnosis at the scale that was measured."""
    return merge.at(1 / merge.whole["size"] if each.factor is None else each.factor)


def over_merges(
    merges: Sequence[MeasuredMerge],
    diagnosed: Sequence[DiagnosedMerge],
    groups: rho.Groups,
    target: str,
) -> dict[str, Any]:
    """Correlate all figures with one score."""
    flat = [at_scale(t, m).flat() for t, m in zip(diagnosed, merges, strict=True)]
    names = [name for name in flat[0] if all(name in merge for merge in flat)]
    X = np.array([[merge[name] for merge in flat] for name in names]).round(rho.DIGITS)
    y = np.array([each.score(target) for each in merges])
    errors = np.array([each.error(target) for each in merges])
    values, p = rho.spearman(X, y), rho.adjusted_p_values(X, y, groups)
    order = [int(i) for i in np.argsort(-np.abs(np.nan_to_num(values)))]
    wanted = set(order[:SHOWN]) | {
        names.index(name) for name in (*OF_THE_PAPER, *KNOWN_BEFORE) if name in names
    }
    rows = [
        {
            "figure": names[i],
            "rho": float(values[i]),
            "interval": rho.interval(X[i], y, groups),
            "items": rho.item_interval(X[i], y, errors),
            "p": float(p[i]),
        }
        for i in order
        if i in wanted and np.isfinite(values[i])
    ]
    split = rho.check_on_halves(dict(zip(names, X, strict=True)), y, groups)
    return {
        "target": target,
        "merges": len(merges),
        "groups": len(groups),
        "figures": len(names),
        "beyond chance": int((p < 0.05).sum()),
        "rows": rows,
        "split": {
            "first": split.first,
            "second": split.second,
            "low": split.low,
            "high": split.high,
            "chosen": dict(list(split.chosen.items())[:4]),
        },
    }


def over_tasks(
    merges: Sequence[MeasuredMerge],
    diagnosed: Sequence[DiagnosedMerge],
    groups: rho.Groups,
    benchmark: BenchmarkScores,
    least_varied: float = 1e-3,
) -> dict[str, Any]:
    """Correlate within merges over tasks, within tasks over merges, and without both means."""
    at = [at_scale(t, m).tasks for t, m in zip(diagnosed, merges, strict=True)]
    X = {name: np.array([merge[name] for merge in at]).round(rho.DIGITS) for name in at[0]}
    X = {name: x for name, x in X.items() if x.std() > least_varied}
    Y = np.stack([benchmark.kept(each) for each in merges])
    names = list(X)
    within, p = rho.shuffled_tasks(np.stack(list(X.values())), Y)
    rows = []
    for i, name in enumerate(names):
        by_task = [float(rho.spearman(X[name][:, t], Y[:, t])) for t in range(Y.shape[1])]
        rows.append(
            {
                "figure": name,
                "within merges": float(within[i]),
                "p": float(p[i]),
                "within tasks": float(np.nanmean(by_task)),
                "by task": by_task,
                "both": _both(X[name], Y, groups),
            }
        )
    return {"figures": len(names), "merges": len(merges), "rows": rows}


def _both(x: np.ndarray, Y: np.ndarray, groups: rho.Groups) -> list[float]:
    """Correlate what is left of both without means, with its interval over groups."""
    x, y = rho.center_twice(x), rho.center_twice(Y)
    drawn = [
        float(rho.spearman(x[i].ravel(), y[i].ravel()))
        for i in rho.resample_groups(groups, draws=500)
    ]
    return [float(rho.spearman(x.ravel(), y.ravel())), *rho.quantiles(np.array(drawn))]


def beyond_rank(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge], groups: rho.Groups
) -> list[dict[str, Any]]:
    """Correlate with the seen average, the merge's rank held."""
    flat = [at_scale(t, m).flat() for t, m in zip(diagnosed, merges, strict=True)]
    y = np.array([each.score("seen") for each in merges])
    rank = np.array([merge["spectra.rank, mean"] for merge in flat]).round(rho.DIGITS)
    rows = []
    for name in (*KNOWN_BEFORE, *OF_THE_PAPER):
        x = np.array([merge[name] for merge in flat]).round(rho.DIGITS)
        drawn = [rho.partial(x[i], y[i], rank[i]) for i in rho.resample_groups(groups)]
        value = rho.partial(x, y, rank)
        rows.append({"figure": name, "rho": value, "interval": rho.quantiles(np.array(drawn))})
    return rows


def over_subsets(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge], benchmark: BenchmarkScores
) -> dict[str, Any] | None:
    """Correlate with the share of the gain kept, where numbers of tasks differ."""
    if len({each.which.count for each in merges}) < 2:
        return None
    y = np.array([benchmark.kept(each).mean() for each in merges])
    methods, counts = (
        [[i for i, m in enumerate(merges) if key(m) == k] for k in sorted({key(m) for m in merges})]
        for key in (lambda m: m.which.label, lambda m: str(m.which.count))
    )
    rows = []
    for name in KNOWN_BEFORE + OF_THE_PAPER:
        x = np.array([at_scale(t, m).flat()[name] for t, m in zip(diagnosed, merges, strict=True)])
        x = x.round(rho.DIGITS)
        rows.append(
            {
                "figure": name,
                "rho": float(np.nan_to_num(rho.spearman(x, y))),
                "interval": rho.interval(x, y, counts),
                "within methods": _within(x, y, methods),
                "within numbers": _within(x, y, counts),
            }
        )
    return {"merges": len(merges), "methods": len(methods), "numbers": len(counts), "rows": rows}


def _within(x: np.ndarray, y: np.ndarray, groups: rho.Groups) -> float:
    """Return the mean correlation within groups; one that does not vary counts 0."""
    within = [float(np.nan_to_num(rho.spearman(x[list(g)], y[list(g)]))) for g in groups]
    return float(np.mean(within))


def points(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge]
) -> list[dict[str, Any]]:
    """Return some figures of every merge and its score, for the chart."""
    names = {
        "answer": "directions.largest.answer, mean, task mean",
        "similarity": "directions.rest.both, mean, task mean",
        "rank": "spectra.rank, mean",
    }
    return [
        {
            "merge": m.which.label,
            "seen": m.score("seen"),
            **{short: t.flat()[name] for short, name in names.items()},
        }
        for m, t in zip(merges, diagnosed, strict=True)
    ]
