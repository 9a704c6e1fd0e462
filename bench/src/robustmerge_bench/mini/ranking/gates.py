"""Gates: whether a trained benchmark is in the regime of real models, before anything is ranked.

In a real model the base has the skills, an expert is a small update that adapts format, vocabulary
and domain, and a merge keeps much of what the experts gained. Where that is not so, a ranking of
methods says nothing about real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import median

from robustmerge import load
from robustmerge.adapter.base import Base
from robustmerge.errors import MergeError, few
from robustmerge.linalg import norm

from ...results.comparison import PairwiseComparison
from ..runs.folders import ExpertSet
from .summary import FamilySummary, RankedMerge, compare_merges

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
    """One requirement."""

    name: str
    wanted: str
    measured: str
    passed: bool


@dataclass(frozen=True)
class GateInput:
    """What gates look at.

    Attributes:
        sizes: Relative size of every expert's update, by a readable name.
        merges: Sensible merges at their own scale and tuned, the best first.
    """

    summary: FamilySummary
    sizes: Mapping[str, float]
    merges: Mapping[str, Sequence[RankedMerge]]


Measure = Callable[[GateInput], tuple[str, bool]]
"""Returns the measured values, in words, and whether they meet the requirement."""


def check_gates(
    summary: FamilySummary, sizes: Mapping[str, float], *, rank: str = "full"
) -> list[Gate]:
    """Check whether a trained benchmark meets all requirements.

    `sizes` are the relative sizes of all experts' updates, by a readable name. Merges of the given
    rank are compared with each other; at full rank nothing is cut.
    """
    rankings = {
        "default": summary.ranking("default", rank),
        "tuned": summary.ranking("sweep", rank),
    }
    merges = {
        name: [row for row in (ranking.rows if ranking else ()) if row.merge.label in SENSIBLE]
        for name, ranking in rankings.items()
    }
    data = GateInput(summary, sizes, merges)
    return [Gate(name, wanted, *measure(data)) for name, wanted, measure in GATES]


def _gains(data: GateInput) -> tuple[str, bool]:
    family = data.summary.family
    gains = {
        f"{task} of seed {seed}": float(own.mean() - family.zero_shot[task].mean())
        for task, scores in family.experts.items()
        for seed, own in zip(family.seeds, scores, strict=True)
    }
    least = min(gains, key=gains.__getitem__)
    low = [name for name, gain in gains.items() if gain < GAIN]
    more = f"; too little: {few(low)}" if low else ""
    return f"least {gains[least]:+.1f}, {least}{more}", not low


def _share(data: GateInput) -> tuple[str, bool]:
    zero_shot, experts = data.summary.zero_shot.seen.value, data.summary.experts.seen.value
    share = zero_shot / experts if experts else 0.0
    low, high = ZERO_SHOT
    return f"{share:.2f} ({zero_shot:.1f} of {experts:.1f})", low <= share <= high


def _floor(data: GateInput) -> tuple[str, bool]:
    scores = {task: estimate.value for task, estimate in data.summary.zero_shot.tasks.items()}
    least = min(scores, key=scores.__getitem__)
    if at_zero := [task for task, score in scores.items() if score == 0]:
        return f"at 0: {', '.join(at_zero)}", False
    return f"least {scores[least]:.1f}, {least}", True


def _sizes(data: GateInput) -> tuple[str, bool]:
    sizes, (low, high) = data.sizes, SIZES
    if not sizes:
        return "no expert measured", False
    outside = [name for name, size in sizes.items() if not low <= size <= high]
    more = f"; outside: {few(outside)}" if outside else ""
    return f"{min(sizes.values()):.2%} to {max(sizes.values()):.2%}{more}", not outside


def _arithmetic(data: GateInput) -> tuple[str, bool]:
    kept = [
        (row.summary.kept.value, ranking.rank, sorted(row.merge.factors))
        for ranking in data.summary.rankings
        if ranking.scale == "sweep"
        for row in ranking.rows
        if row.merge.label == "task-arithmetic" and row.summary.kept
        if math.isfinite(row.summary.kept.value)
    ]
    if not kept:
        return "not run: --methods task-arithmetic --scale sweep", False
    most, rank, factors = max(kept, key=itemgetter(0))  # the first rank, if two keep the same
    measured = f"{most:.0f}%, rank {rank}, factor {factors[0]:.3g} to {factors[-1]:.3g}"
    return measured, most >= KEPT


def _spread(data: GateInput) -> tuple[str, bool]:
    spreads, measured = [0.0], []
    for name, rows in data.merges.items():
        if len(rows) < 2:
            measured.append(f"{name}: not run")
            continue
        best, worst = ((row.merge.label, row.summary.seen.value) for row in (rows[0], rows[-1]))
        spreads.append(best[1] - worst[1])
        ends = f"{best[0]} {best[1]:.1f} to {worst[0]} {worst[1]:.1f}"
        measured.append(f"{name}: {spreads[-1]:.1f}, {ends}")
    return "; ".join(measured), max(spreads) >= SPREAD


def _joint(data: GateInput) -> tuple[str, bool]:
    summary = data.summary
    merges = [
        (row.summary.seen.value, f"{row.merge.label}, scale {ranking.scale}, rank {ranking.rank}")
        for ranking in summary.rankings
        for row in ranking.rows
    ]
    if summary.joint is None or not merges:
        return f"{'no merge' if summary.joint else 'no joint adapter'} examined", False
    joint, (best, name) = summary.joint.seen.value, max(merges)
    return f"{joint:.1f}, best merge {best:.1f}: {name}", joint >= best


def _separation(data: GateInput) -> tuple[str, bool]:
    unseen, measured, passed = data.summary.family.unseen, [], False
    for name, rows in data.merges.items():
        scores = {row.merge.label: row.merge.scores for row in rows}
        pairs = compare_merges(scores, unseen) if unseen else ()
        if not pairs:
            measured.append(f"{name}: not run")
            continue
        widest = max(pairs, key=lambda pair: abs(pair.difference.value))
        apart = sum(pair.significant for pair in pairs)
        measured.append(f"{name}: {_difference(widest)}, {apart} of {len(pairs)} pairs apart")
        passed |= widest.significant
    return "; ".join(measured), passed


def _difference(pair: PairwiseComparison) -> str:
    pair = pair if pair.difference.value >= 0 else pair.reversed()
    by = pair.difference
    return f"{pair.first} over {pair.second} by {by.value:.1f} [{by.low:.1f}, {by.high:.1f}]"


GATES: tuple[tuple[str, str, Measure], ...] = (
    ("each expert above zero-shot", f"by {GAIN:.0f} points or more", _gains),
    (
        "zero-shot beside the experts",
        f"{ZERO_SHOT[0]:g} to {ZERO_SHOT[1]:g} of their seen average",
        _share,
    ),
    ("zero-shot on every task", "above 0, seen and unseen", _floor),
    (
        "relative size of the updates",
        f"{SIZES[0]:.0%} to {SIZES[1]:.0%} (median over modules)",
        _sizes,
    ),
    (
        "task arithmetic at its best scale",
        f"keeps {KEPT:.0f}% of the gain or more",
        _arithmetic,
    ),
    (
        "best and worst sensible method",
        f"{SPREAD:.0f} points apart or more, seen average",
        _spread,
    ),
    ("joint training", "at or above every merge, seen average", _joint),
    (
        "unseen average separates methods",
        "the widest pair beyond its interval (Holm)",
        _separation,
    ),
)
"""Name, requirement in words, and measure of every gate."""


# --- Sizes of updates -----------------------------------------------------------------------------


def relative_sizes(sets: Iterable[ExpertSet], base: Path, tasks: Sequence[str]) -> dict[str, float]:
    """Measure the experts of these tasks, by a readable name; see `relative_size`."""
    return {
        f"{folder.name} of {each.name}": relative_size(folder, base)
        for each in sets
        for folder in each.adapters(tasks)
    }


def relative_size(adapter: Path, base: Path) -> float:
    """Return the median over modules of |Δ| / |W| in Frobenius norms; 0.02 is two percent."""
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
