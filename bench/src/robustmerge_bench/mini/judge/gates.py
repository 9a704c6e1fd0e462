"""Gates: whether a trained benchmark is in the regime of real models, before anything is ranked.

In a real model the base has the skills, an expert is a small update that adapts format, vocabulary
and domain, and a merge keeps much of what the experts gained. Where that is not so, a ranking of
methods says nothing about real ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from robustmerge.errors import few

from .standing import Row, Section, Standing
from .versus import Duel, duels

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
        name: What is required of.
        wanted: What is required.
        measured: What was found.
        passed: Whether that is enough.
    """

    name: str
    wanted: str
    measured: str
    passed: bool


def gates(standing: Standing, sizes: Mapping[str, float], *, rank: str = "full") -> list[Gate]:
    """Judge a trained benchmark.

    Args:
        standing: What was measured.
        sizes: Relative size of every expert's update, by a readable name.
        rank: Rank of the merges that are compared with each other; at full rank nothing is cut.
    """
    default, tuned = (standing.section(scale, rank) for scale in ("default", "sweep"))
    return [
        _gains(standing),
        _share(standing),
        _floor(standing),
        _sizes(sizes),
        _arithmetic(standing),
        _spread(default, tuned),
        _joint(standing),
        _separation(standing.family.unseen, default, tuned),
    ]


def _gains(standing: Standing) -> Gate:
    family = standing.family
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


def _share(standing: Standing) -> Gate:
    zero_shot, experts = standing.zero_shot.seen.value, standing.experts.seen.value
    share = zero_shot / experts if experts else 0.0
    low, high = ZERO_SHOT
    return Gate(
        "zero-shot beside the experts",
        f"{low:g} to {high:g} of their seen average",
        f"{share:.2f} ({zero_shot:.1f} of {experts:.1f})",
        low <= share <= high,
    )


def _floor(standing: Standing) -> Gate:
    scores = {task: figure.value for task, figure in standing.zero_shot.tasks.items()}
    zero = [task for task, score in scores.items() if score == 0]
    least = min(scores, key=scores.__getitem__)
    measured = f"at 0: {', '.join(zero)}" if zero else f"least {scores[least]:.1f}, {least}"
    return Gate("zero-shot on every task", "above 0, seen and unseen", measured, not zero)


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


def _arithmetic(standing: Standing) -> Gate:
    swept = [section for section in standing.sections if section.scale == "sweep"]
    found = [
        (row.summary.kept.value, section.rank, row)
        for section in swept
        for row in section.rows
        if row.entry.label == "task-arithmetic" and row.summary.kept
        if math.isfinite(row.summary.kept.value)
    ]
    measured = "not run: --methods task-arithmetic --scale sweep"
    kept = 0.0
    if found:
        kept, rank, row = max(found, key=lambda each: each[0])
        factors = sorted(row.entry.factors)
        measured = f"{kept:.0f}%, rank {rank}, factor {factors[0]:.3g} to {factors[-1]:.3g}"
    return Gate(
        "task arithmetic at its best scale",
        f"keeps {KEPT:.0f}% of the gain or more",
        measured,
        bool(found) and kept >= KEPT,
    )


def _spread(default: Section | None, tuned: Section | None) -> Gate:
    spreads, said = [], []
    for what, section in (("default", default), ("tuned", tuned)):
        rows = sorted(_sensible(section), key=lambda row: row.summary.seen.value)
        if len(rows) < 2:
            said.append(f"{what}: not run")
            continue
        worst, best = rows[0], rows[-1]
        spreads.append(best.summary.seen.value - worst.summary.seen.value)
        said.append(f"{what}: {spreads[-1]:.1f}, {_named(best)} to {_named(worst)}")
    return Gate(
        "best and worst sensible method",
        f"{SPREAD:.0f} points apart or more, seen average",
        "; ".join(said),
        bool(spreads) and max(spreads) >= SPREAD,
    )


def _joint(standing: Standing) -> Gate:
    merges = [
        (row.summary.seen.value, f"{row.entry.label}, scale {section.scale}, rank {section.rank}")
        for section in standing.sections
        for row in section.rows
    ]
    wanted = "at or above every merge, seen average"
    if standing.joint is None or not merges:
        missing = "no merge" if standing.joint else "no joint adapter"
        return Gate("joint training", wanted, f"{missing} examined", False)
    joint, (best, name) = standing.joint.seen.value, max(merges)
    return Gate(
        "joint training", wanted, f"{joint:.1f}, best merge {best:.1f}: {name}", joint >= best
    )


def _separation(unseen: Sequence[str], default: Section | None, tuned: Section | None) -> Gate:
    said, passed = [], False
    for what, section in (("default", default), ("tuned", tuned)):
        models = {row.entry.label: row.entry.scores for row in _sensible(section)}
        found = duels(models, unseen) if unseen and len(models) > 1 else ()
        if not found:
            said.append(f"{what}: not run")
            continue
        widest = max(found, key=lambda duel: abs(duel.difference.value))
        apart = [duel for duel in found if duel.winner]
        said.append(f"{what}: {_said(widest)}, {len(apart)} of {len(found)} pairs apart")
        passed |= bool(widest.winner)
    return Gate(
        "unseen average separates methods",
        "the widest pair beyond its interval (Holm)",
        "; ".join(said),
        passed,
    )


def _said(duel: Duel) -> str:
    sign = 1 if duel.difference.value >= 0 else -1
    first, second = (duel.first, duel.second)[::sign]
    low, high = sorted((sign * duel.difference.low, sign * duel.difference.high))
    size = abs(duel.difference.value)
    return f"{first} over {second} by {size:.1f} [{low:.1f}, {high:.1f}]"


def _sensible(section: Section | None) -> Iterator[Row]:
    return (row for row in (section.rows if section else ()) if row.entry.label in SENSIBLE)


def _named(row: Row) -> str:
    return f"{row.entry.label} {row.summary.seen.value:.1f}"
