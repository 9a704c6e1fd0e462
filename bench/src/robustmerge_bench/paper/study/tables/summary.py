"""What tables say: averages, shares of the experts, the worst task, who beats whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ....figure import ScoreEstimate
from ....stats import Difference, compare_drawn
from .board import Board, Entry
from .resample import Drawn, resample

Pairs = Mapping[tuple[str, str], Difference]
GROUP_OF_EXPERTS = ("seen", "vision")


@dataclass(frozen=True)
class Summary:
    """What a contender's scores come to.

    Attributes:
        entry: The contender.
        tasks: Its score of every task that it has one of.
        averages: The mean over a group of tasks, if it has a score of every one of them.
        normalized: Mean share of the individual experts' scores, in percent, over their tasks.
        worst: The task with the least such share, and the share in percent.
        silent: The task with the most answers that are empty or unparsable, and their percentage.
    """

    entry: Entry
    tasks: Mapping[str, ScoreEstimate]
    averages: Mapping[str, ScoreEstimate]
    normalized: ScoreEstimate | None
    worst: tuple[str, ScoreEstimate] | None
    silent: tuple[str, float] | None


@dataclass(frozen=True)
class Standing:
    """A board summed up.

    Attributes:
        board: The scores.
        summaries: Of all contenders, in the study's order.
        pairs: By figure, every two contenders that have it: an average, or a task of those that
            are not averaged. p is Holm's over all pairs of a figure.
        draws: How often samples were drawn.
    """

    board: Board
    summaries: tuple[Summary, ...]
    pairs: Mapping[str, Pairs]
    draws: int


def stand(board: Board, *, draws: int | None = None, seed: int = 0) -> Standing:
    """Sum up and compare; see `resample` for the arguments."""
    drawn = resample(board, draws=draws, seed=seed)
    experts = drawn[board.experts.label] if board.experts else None
    count = max((len(d) for each in drawn.values() for d in each.draws.values()), default=0)
    return Standing(
        board,
        tuple(_summary(board, each, drawn[each.label], experts) for each in board.entries),
        {name: _pairs(board, drawn, tasks) for name, tasks in compared(board).items()},
        count,
    )


def compared(board: Board) -> dict[str, list[str]]:
    """What contenders are compared by: a name, and the tasks whose mean it is."""
    found = {group: [task.name for task in board.of(group)] for group in board.averaged}
    alone = (task.name for task in board.tasks if task.group not in board.averaged)
    return found | {name: [name] for name in alone}


def _summary(board: Board, entry: Entry, own: Drawn, experts: Drawn | None) -> Summary:
    groups = {group: [task.name for task in board.of(group)] for group in board.averaged}
    averages = {
        g: _mean(own, names) for g, names in groups.items() if own.values.keys() >= {*names}
    }
    names = [name for group in GROUP_OF_EXPERTS for name in groups.get(group, ())]
    shares = None if entry is board.experts else _shares(own, experts, names)
    return Summary(
        entry,
        {task.name: own.figure(task.name) for task in board.tasks if task.name in own.values},
        averages,
        _mean(shares, names) if shares else None,
        _worst(shares) if shares else None,
        _silent(entry),
    )


def _mean(own: Drawn, names: Sequence[str]) -> ScoreEstimate:
    value = float(np.mean([own.values[name] for name in names]))
    return ScoreEstimate.of(value, np.mean([own.draws[name] for name in names], axis=0))


def _shares(own: Drawn, experts: Drawn | None, names: Sequence[str]) -> Drawn | None:
    """Scores in percent of the experts', on the same draws.

    None where one is missing, or where an expert is worth nothing, of which there is no share.
    """
    if experts is None or not names:
        return None
    if not own.values.keys() >= {*names} <= experts.values.keys():
        return None
    if any((experts.draws[name] <= 0).any() for name in names):
        return None
    return Drawn(
        {name: 100 * own.values[name] / experts.values[name] for name in names},
        {name: 100 * own.draws[name] / experts.draws[name] for name in names},
    )


def _worst(shares: Drawn) -> tuple[str, ScoreEstimate]:
    task = min(shares.values, key=lambda name: shares.values[name])
    return task, shares.figure(task)


def _silent(entry: Entry) -> tuple[str, float] | None:
    found = {task: 100 * max(s.empty, s.unparsable) for task, s in entry.scores.items()}
    task = max(found, key=lambda name: found[name], default=None)
    return None if task is None else (task, found[task])


def _pairs(board: Board, drawn: Mapping[str, Drawn], tasks: Sequence[str]) -> Pairs:
    """Every two contenders that have a score of each of these tasks."""
    there = [e.label for e in board.entries if drawn[e.label].values.keys() >= {*tasks}]
    if len(there) < 2:
        return {}
    values = {label: float(np.mean([drawn[label].values[t] for t in tasks])) for label in there}
    means = [np.mean([drawn[label].draws[t] for t in tasks], axis=0) for label in there]
    return compare_drawn(values, np.stack(means, axis=1))
