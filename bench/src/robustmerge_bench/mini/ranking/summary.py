r"""A family's models summed up and its merges ranked: what tables show and gates look at.

    kept        (M - Z) / (E - Z)      averages over seen tasks: merge, zero-shot, own experts
    normalized  mean_t M_t / E_t       over seen tasks

Both are in percent. Where the experts gained nothing, or an expert scores zero, they mean nothing
and are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...results.comparison import PairwiseComparison, compare_all
from ...results.resampling import (
    DRAWS,
    ResampledScores,
    ScoreEstimate,
    TaskScores,
    resample_tasks,
)
from ..runs.contender import SCALES
from .families import ExpertFamily, MergeScores

SCALE_ORDER = tuple(SCALES)


@dataclass(frozen=True)
class ModelSummary:
    """What a model's scores come to.

    Attributes:
        seen: Average over seen tasks.
        worst: Score of the seen task that is worst.
        unseen: Average over unseen tasks; None where there are none, as with experts.
        kept: Share of the experts' gain kept, in percent; None without references.
        normalized: Mean ratio to the experts, in percent; None without references.
    """

    tasks: dict[str, ScoreEstimate]
    seen: ScoreEstimate
    worst: ScoreEstimate
    worst_task: str
    unseen: ScoreEstimate | None
    kept: ScoreEstimate | None
    normalized: ScoreEstimate | None


@dataclass(frozen=True)
class RankedMerge:
    """A merge and what its scores come to."""

    merge: MergeScores
    summary: ModelSummary


@dataclass(frozen=True)
class Ranking:
    """Merges of one scale protocol and rank, which may be compared.

    Attributes:
        rows: The merges, best seen average first.
        seen: The tasks that the average is over.
    """

    scale: str
    rank: str
    rows: tuple[RankedMerge, ...]
    seen: tuple[str, ...]

    @cached_property
    def comparisons(self) -> tuple[PairwiseComparison, ...]:
        """Every two merges by the seen average. Takes seconds where there are many."""
        return compare_merges({row.merge.label: row.merge.scores for row in self.rows}, self.seen)


@dataclass(frozen=True)
class FamilySummary:
    """A family's models."""

    family: ExpertFamily
    zero_shot: ModelSummary
    experts: ModelSummary
    joint: ModelSummary | None
    rankings: tuple[Ranking, ...]

    def ranking(self, scale: str, rank: str) -> Ranking | None:
        """Return the merges of this protocol and rank, if there are any."""
        matches = (r for r in self.rankings if (r.scale, r.rank) == (scale, rank))
        return next(matches, None)


def summarize_family(family: ExpertFamily, *, draws: int = DRAWS) -> FamilySummary:
    """Sum up and compare."""
    seen, unseen = family.seen, family.unseen
    merges = dict(enumerate(family.merges))
    models: dict[str | int, TaskScores] = {
        "zero-shot": family.zero_shot,
        "experts": family.experts,
        **({"joint": family.joint} if family.joint else {}),
        **{i: merge.scores for i, merge in merges.items()},
    }
    resampled = resample_tasks(models, draws=draws)
    base, own = resampled["zero-shot"], resampled["experts"]
    rows = sorted(
        (
            RankedMerge(merge, summarize(resampled[i], seen, unseen, base, own))
            for i, merge in merges.items()
        ),
        key=lambda row: -row.summary.seen.value,
    )
    protocols = {(merge.scale, merge.rank) for merge in family.merges}
    return FamilySummary(
        family,
        summarize(base, seen, unseen, base, own),
        summarize(own, seen, (), base, own),
        summarize(resampled["joint"], seen, unseen, base, own) if family.joint else None,
        tuple(
            Ranking(
                *key, tuple(row for row in rows if (row.merge.scale, row.merge.rank) == key), seen
            )
            for key in sorted(protocols, key=lambda k: (SCALE_ORDER.index(k[0]), k[1] != "input"))
        ),
    )


def compare_merges(
    merges: dict[str, TaskScores], tasks: Sequence[str]
) -> tuple[PairwiseComparison, ...]:
    """Compare every two merges by their average over these tasks."""
    return compare_all({label: {t: s[t] for t in tasks} for label, s in merges.items()})


def summarize(
    model: ResampledScores,
    seen: Sequence[str],
    unseen: Sequence[str],
    zero_shot: ResampledScores | None = None,
    experts: ResampledScores | None = None,
) -> ModelSummary:
    """Sum up a model.

    The share kept needs the base's scores, and those of every seen task's own expert.
    """
    worst = min(seen, key=model.values.__getitem__)
    kept = normalized = None
    if zero_shot and experts:
        kept = _kept(model, zero_shot, experts, seen)
        normalized = model.percent_of(experts, seen).mean(seen)
    return ModelSummary(
        tasks={task: model.estimate(task) for task in model.values},
        seen=model.mean(seen),
        # Of the worst task in every draw: which one that is, is chance as well.
        worst=ScoreEstimate.of(
            model.values[worst], np.min([model.draws[task] for task in seen], axis=0)
        ),
        worst_task=worst,
        unseen=model.mean(unseen) if unseen else None,
        kept=kept,
        normalized=normalized,
    )


def _kept(
    model: ResampledScores,
    zero_shot: ResampledScores,
    experts: ResampledScores,
    tasks: Sequence[str],
) -> ScoreEstimate:
    pairs = zip(*(each.averaged(tasks) for each in (model, zero_shot, experts)), strict=True)
    value, drawn = (100 * (m - z) / np.where(e - z > 0, e - z, math.nan) for m, z, e in pairs)
    return ScoreEstimate.of(float(value), drawn)
