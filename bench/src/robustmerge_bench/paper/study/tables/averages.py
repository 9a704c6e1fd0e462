"""Averages with intervals, and what they hide."""

from __future__ import annotations

from functools import partial
from statistics import fmean

from ....figure import ScoreEstimate
from ...tasks import TASKS
from ..published import PublishedRow
from .grid import NONE, TITLES, Cell, Grid, Head, Line, or_none, spread
from .scores import average, bold, in_order
from .sources import Sources
from .summary import GROUP_OF_EXPERTS, Standing, Summary


def averages(standing: Standing, sources: Sources) -> Grid:
    """Averages and what they hide."""
    board = standing.board
    heads = [
        Head(f"{TITLES[g].split()[0].lower()} mean", f"{TITLES[g]}, the mean")
        for g in board.averaged
    ]
    shares = _has_shares(standing)
    lead = "± is half of a 95% bootstrap interval over samples."
    if shares:
        heads.append(Head("of experts", "Mean share of the individual experts' scores, in percent"))
        heads.append(Head("worst task", "The least such share, in percent, and its task"))
        tasks = " and ".join(g for g in GROUP_OF_EXPERTS if g in board.averaged)
        lead += (
            " Of experts: the mean share of the individual experts' scores, in percent, over "
            f"{tasks} tasks. Worst task: where that share is least."
        )
    heads.append(
        Head("no answer", "Most answers of a task that are empty or unparsable, in percent")
    )
    lead += " No answer: the task with the most answers that are empty or unparsable, in percent."
    lines = in_order(standing, _measured, partial(_printed, sources))
    return Grid("averages", "Averages", lead, tuple(heads), tuple(bold(lines, len(heads) - 1)))


def _has_shares(standing: Standing) -> bool:
    return any(summary.normalized for summary in standing.summaries)


def _measured(standing: Standing, summary: Summary) -> Line:
    cells = [average(standing, summary, group) for group in standing.board.averaged]
    if _has_shares(standing):
        cells += [_with(summary.normalized), _worst(summary.worst)]
    cells.append(_silent(summary))
    return Line(summary.entry.label, summary.entry.named.kind, tuple(cells))


def _printed(sources: Sources, standing: Standing, row: PublishedRow) -> Line:
    board = standing.board
    cells = [Cell(or_none(row.average(board.of(g), g), standing)) for g in board.averaged]
    if _has_shares(standing):
        shares = _printed_shares(standing, row)
        mean = Cell(f"{fmean(shares.values()):.1f}") if shares else Cell(NONE)
        least = min(shares, key=lambda task: shares[task], default=None)
        worst = None if least is None else (least, shares[least])
        cells += [mean, Cell(NONE) if worst is None else _share(*worst)]
    return Line(row.label, "published", (*cells, Cell(NONE)), sources.mark(row))


def _printed_shares(standing: Standing, row: PublishedRow) -> dict[str, float]:
    """A published row in percent of the experts' that was published with it."""
    board = standing.board
    names = [task.name for group in GROUP_OF_EXPERTS for task in board.of(group)]
    for other in board.printed:
        experts = board.experts
        if experts is None or (other.label, other.source) != (experts.label, row.source):
            continue
        if other is not row and {*names} <= row.values.keys() & other.values.keys():
            return {name: 100 * row.values[name] / other.values[name] for name in names}
    return {}


def _with(figure: ScoreEstimate | None) -> Cell:
    return Cell(NONE) if figure is None else Cell(f"{figure.value:.1f}", spread(figure, 1))


def _worst(worst: tuple[str, ScoreEstimate] | None) -> Cell:
    return Cell(NONE) if worst is None else _share(worst[0], worst[1].value)


def _share(task: str, value: float) -> Cell:
    return Cell(f"{value:.1f}", TASKS[task].column)


def _silent(summary: Summary) -> Cell:
    if summary.silent is None:
        return Cell(NONE)
    task, share = summary.silent
    return Cell(f"{share:.1f}", TASKS[task].column if share > 0 else "")
