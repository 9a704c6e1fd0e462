r"""What is said of one model: task scores, averages, the worst task, and what a merge kept.

    kept        (M - Z) / (E - Z)      averages over seen tasks: merge, zero-shot, own experts
    normalized  mean_t M_t / E_t       over seen tasks

Both are in percent. Where the experts gained nothing, or an expert scores zero, they mean nothing
and are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...figure import ScoreEstimate
from .resample import Means


@dataclass(frozen=True)
class Summary:
    """One row of a table.

    Attributes:
        tasks: Score of every task, by name.
        seen: Average over seen tasks.
        worst: Score of the seen task that is worst.
        worst_task: Which that is.
        unseen: Average over unseen tasks; None where there are none, as with experts.
        kept: Share of the experts' gain kept, in percent; None where nobody asked.
        normalized: Mean ratio to the experts, in percent; likewise.
    """

    tasks: dict[str, ScoreEstimate]
    seen: ScoreEstimate
    worst: ScoreEstimate
    worst_task: str
    unseen: ScoreEstimate | None
    kept: ScoreEstimate | None
    normalized: ScoreEstimate | None


def summarize(
    means: Means,
    seen: Sequence[str],
    unseen: Sequence[str],
    zero_shot: Means | None = None,
    experts: Means | None = None,
) -> Summary:
    """Sum up a model.

    Args:
        means: Its task averages.
        seen: The seen tasks.
        unseen: The unseen tasks it was examined on.
        zero_shot: The base's averages, to say what was kept.
        experts: The average of every seen task's own expert, likewise.
    """
    on_seen = means.over(seen)
    place = int(on_seen.value.argmin())
    kept = normalized = None
    if zero_shot and experts:
        own = experts.over(seen)
        kept, normalized = _kept(on_seen, zero_shot.over(seen), own), _normalized(on_seen, own)
    return Summary(
        tasks={
            task: ScoreEstimate.of(float(means.value[i]), means.draws[:, i])
            for i, task in enumerate(means.tasks)
        },
        seen=_mean(on_seen),
        # Of the worst task in every draw: which one that is, is chance as well.
        worst=ScoreEstimate.of(float(on_seen.value[place]), on_seen.draws.min(axis=1)),
        worst_task=seen[place],
        unseen=_mean(means.over(unseen)) if unseen else None,
        kept=kept,
        normalized=normalized,
    )


def _mean(means: Means) -> ScoreEstimate:
    return ScoreEstimate.of(float(means.value.mean()), means.draws.mean(axis=1))


def _kept(merged: Means, zero_shot: Means, experts: Means) -> ScoreEstimate:
    def share(m: np.ndarray, z: np.ndarray, e: np.ndarray) -> Any:
        gain = e.mean(axis=-1) - z.mean(axis=-1)
        return 100 * (m.mean(axis=-1) - z.mean(axis=-1)) / np.where(gain > 0, gain, math.nan)

    return _figure(share, merged, zero_shot, experts)


def _normalized(merged: Means, experts: Means) -> ScoreEstimate:
    def ratio(m: np.ndarray, e: np.ndarray) -> Any:
        return 100 * (m / np.where(e > 0, e, math.nan)).mean(axis=-1)

    return _figure(ratio, merged, experts)


def _figure(statistic: Callable[..., Any], *means: Means) -> ScoreEstimate:
    """A statistic of several models' task averages, with its interval."""
    value = float(statistic(*(m.value for m in means)))
    return ScoreEstimate.of(value, statistic(*(m.draws for m in means)))
