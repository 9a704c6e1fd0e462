"""Gates: whether a trained benchmark is in the regime of real models, before anything is ranked.

In a real model the base has the skills, an expert is a small update that adapts format, vocabulary
and domain, and a merge keeps much of what the experts gained. Where that is not so, a ranking of
methods says nothing about real ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from robustmerge import load
from robustmerge.adapter.base import Base
from robustmerge.errors import MergeError, few
from robustmerge.linalg import norm

from ...results.comparison import PairwiseComparison
from ..runs.folders import ExpertSet
from .summary import FamilySummary, RankedMerge, Ranking, compare_merges

GAIN = 20.0
"""Points an expert is to be above zero-shot on its task."""

ZERO_SHOT = (0.4, 0.75)
"""The zero-shot average as a share of the experts'."""

SIZES = (0.01, 0.05)
"""Relative sizes of updates, in Frobenius norm."""

KEPT = 50.0
"""Percent of the experts' gain that task arithmetic is to keep at its best scale."""

SPREAD = 10.0
"""Points between the best and the worst sensible method."""

SENSIBLE = (
    "task-arithmetic",
    "ties",
    "dare",
    "dare-ties",
    "della",
    "breadcrumbs",
    "magnitude-prune",
    "pcb",
    "robustmerge",
    "tsv-m",
    "iso-c",
    "iso-cts",
    "wudi",
)
"""Methods that were published for merging, at their own parameters. Plain means are left out: at
one T-th of the sum they are near zero-shot, and would make any spread look wide."""


@dataclass(frozen=True)
class Gate:
    """One requirement.

    Attributes:
        name: What the requirement is about.
        wanted: The requirement.
        measured: The measured values.
        passed: Whether they meet it.
    """

    name: str
    wanted: str
    measured: str
    passed: bool


def check_gates(
    summary: FamilySummary, sizes: Mapping[str, float], *, rank: str = "full"
) -> list[Gate]:
    """Check whether a trained benchmark meets all requirements.

    Args:
        summary: The scores of a family.
        sizes: Relative size of every expert's update, by a readable name.
        rank: Rank of the merges that are compared with each other; at full rank nothing is cut.
    """
    sections = {
        name: summary.ranking(scale, rank)
        for name, scale in (("default", "default"), ("tuned", "sweep"))
    }
    merges = {name: _sensible(section) for name, section in sections.items()}
    return [
        _gains(summary),
        _share(summary),
        _floor(summary),
        _sizes(sizes),
        _arithmetic(summary),
        _spread(merges),
        _joint(summary),
        _separation(summary.family.unseen, merges),
    ]


def _gains(summary: FamilySummary) -> Gate:
    family = summary.family
    gains = {
        f"{task} of seed {seed}": float(own.mean() - family.zero_shot[task].mean())
        for task, scores in family.experts.items()
        for seed, own in zip(family.seeds, scores, strict=True)
    }
    least = min(gains, key=gains.__getitem__)
    low = [name for name, gain in gains.items() if gain < GAIN]
    measured = f"least {gains[least]:+.1f}, {least}"
    if low:
        measured += f"; too little: {few(low)}"
    return Gate("each expert above zero-shot", f"by {GAIN:.0f} points or more", measured, not low)


def _share(summary: FamilySummary) -> Gate:
    zero_shot, experts = summary.zero_shot.seen.value, summary.experts.seen.value
    share = zero_shot / experts if experts else 0.0
    low, high = ZERO_SHOT
    return Gate(
        "zero-shot beside the experts",
        f"{low:g} to {high:g} of their seen average",
        f"{share:.2f} ({zero_shot:.1f} of {experts:.1f})",
        low <= share <= high,
    )


def _floor(summary: FamilySummary) -> Gate:
    scores = {task: figure.value for task, figure in summary.zero_shot.tasks.items()}
    at_zero = [task for task, score in scores.items() if score == 0]
    least = min(scores, key=scores.__getitem__)
    measured = f"at 0: {', '.join(at_zero)}" if at_zero else f"least {scores[least]:.1f}, {least}"
    return Gate("zero-shot on every task", "above 0, seen and unseen", measured, not at_zero)


def _sizes(sizes: Mapping[str, float]) -> Gate:
    low, high = SIZES
    out = [name for name, size in sizes.items() if not low <= size <= high]
    measured = "no expert measured"
    if sizes:
        measured = f"{min(sizes.values()):.2%} to {max(sizes.values()):.2%}"
    if out:
        measured += f"; outside: {few(out)}"
    return Gate(
        "relative size of the updates",
        f"{low:.0%} to {high:.0%} (median over modules)",
        measured,
        bool(sizes) and not out,
    )


def _arithmetic(summary: FamilySummary) -> Gate:
    kept = {
        row.summary.kept.value: (ranking.rank, sorted(row.merge.factors))
        for ranking in summary.rankings
        if ranking.scale == "sweep"
        for row in ranking.rows
        if row.merge.label == "task-arithmetic" and row.summary.kept
        if math.isfinite(row.summary.kept.value)
    }
    most = max(kept, default=0.0)
    measured = "not run: --methods task-arithmetic --scale sweep"
    if kept:
        rank, factors = kept[most]
        measured = f"{most:.0f}%, rank {rank}, factor {factors[0]:.3g} to {factors[-1]:.3g}"
    return Gate(
        "task arithmetic at its best scale",
        f"keeps {KEPT:.0f}% of the gain or more",
        measured,
        bool(kept) and most >= KEPT,
    )


def _spread(merges: Mapping[str, Sequence[RankedMerge]]) -> Gate:
    spreads, measured = [], []
    for name, rows in merges.items():
        if len(rows) < 2:
            measured.append(f"{name}: not run")
            continue
        best, worst = rows[0], rows[-1]
        spreads.append(best.summary.seen.value - worst.summary.seen.value)
        measured.append(f"{name}: {spreads[-1]:.1f}, {_with_score(best)} to {_with_score(worst)}")
    return Gate(
        "best and worst sensible method",
        f"{SPREAD:.0f} points apart or more, seen average",
        "; ".join(measured),
        max(spreads, default=0.0) >= SPREAD,
    )


def _joint(summary: FamilySummary) -> Gate:
    merges = [
        (row.summary.seen.value, f"{row.merge.label}, scale {ranking.scale}, rank {ranking.rank}")
        for ranking in summary.rankings
        for row in ranking.rows
    ]
    wanted = "at or above every merge, seen average"
    if summary.joint is None or not merges:
        missing = "no merge" if summary.joint else "no joint adapter"
        return Gate("joint training", wanted, f"{missing} examined", False)
    joint, (best, name) = summary.joint.seen.value, max(merges)
    return Gate(
        "joint training", wanted, f"{joint:.1f}, best merge {best:.1f}: {name}", joint >= best
    )


def _separation(unseen: Sequence[str], merges: Mapping[str, Sequence[RankedMerge]]) -> Gate:
    measured, passed = [], False
    for name, rows in merges.items():
        scores = {row.merge.label: row.merge.scores for row in rows}
        pairs = compare_merges(scores, unseen) if unseen else ()
        if not pairs:
            measured.append(f"{name}: not run")
            continue
        widest = max(pairs, key=lambda pair: abs(pair.difference.value))
        apart = sum(pair.significant for pair in pairs)
        measured.append(f"{name}: {_difference(widest)}, {apart} of {len(pairs)} pairs apart")
        passed |= widest.significant
    return Gate(
        "unseen average separates methods",
        "the widest pair beyond its interval (Holm)",
        "; ".join(measured),
        passed,
    )


def _difference(pair: PairwiseComparison) -> str:
    pair = pair if pair.difference.value >= 0 else pair.reversed()
    by = pair.difference
    return f"{pair.first} over {pair.second} by {by.value:.1f} [{by.low:.1f}, {by.high:.1f}]"


def _sensible(ranking: Ranking | None) -> list[RankedMerge]:
    """Select sensible merges of a ranking, the best first."""
    return [row for row in (ranking.rows if ranking else ()) if row.merge.label in SENSIBLE]


def _with_score(row: RankedMerge) -> str:
    return f"{row.merge.label} {row.summary.seen.value:.1f}"


# --- Sizes of updates -----------------------------------------------------------------------------


def relative_sizes(sets: Iterable[ExpertSet], base: Path, tasks: Sequence[str]) -> dict[str, float]:
    """Measure the experts of these tasks, by a readable name; see `relative_size`."""
    return {
        f"{folder.name} of {each.name}": relative_size(folder, base)
        for each in sets
        for folder in each.adapters(tasks)
    }


def relative_size(adapter: Path, base: Path) -> float:
    """Return the median over modules of |Δ| / |W| in Frobenius norms; 0.02 is two percent.

    Raises:
        MergeError: one of the two cannot be read, or a module has no weight in the base.
    """
    with closing(load(adapter)) as updates, closing(Base(str(base))) as weights:
        ratios = []
        for name in updates.modules:
            weight = weights.weight(name)
            if weight is None:
                raise MergeError(
                    "the base has no weight for a module of the adapter",
                    where=f"{name}\n{adapter}\n{base}",
                    hint="the adapter was trained on another base",
                )
            ratios.append(norm(updates.factors(name)) / float(weight.read().norm()))
    return median(ratios)
