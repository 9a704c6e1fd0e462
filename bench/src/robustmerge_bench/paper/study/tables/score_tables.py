"""The tables of a study: every task's score, averages and what they hide, and differences.

A table is a list of columns that know their cells: of a contender, and of a published row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from string import ascii_lowercase

from ....results.comparison import PairwiseComparison
from ....results.table import (
    MISSING,
    NONE,
    IntervalChart,
    ResultTable,
    TableCell,
    TableColumn,
    TableRow,
    mark_best,
)
from ...tasks import TASKS, PaperTask
from ..published import PublishedRow
from .board import ScoreBoard
from .summary import GROUPS_OF_EXPERTS, ContenderSummary, StudySummary

_ROUNDING = 0.011  # what two decimals, in the mean and in its values, may make together
TITLES = {"seen": "Seen tasks", "unseen": "Unseen tasks", "vision": "Vision tasks", "general": ""}


class SourceNotes:
    """Notes on where published rows come from and slips in them, with letters by first use."""

    def __init__(self) -> None:
        """Start without notes."""
        self._notes: dict[str, str] = {}

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Every letter and its text."""
        return [(letter, text) for text, letter in self._notes.items()]

    def mark(self, row: PublishedRow) -> str:
        """Return the letter of a row's source."""
        return self._letter(row.source + (f". {row.note}" if row.note else ""))

    def slip(self, row: PublishedRow, group: str, tasks: Sequence[PaperTask]) -> str:
        """Return the letter of a remark, where a printed mean is not that of the printed values."""
        average = row.printed_average(tasks, group)
        if average is None or any(task.name not in row.values for task in tasks):
            return ""
        mean = row.mean([task.name for task in tasks])
        decimals = len(f"{average!r}".rpartition(".")[2])
        if abs(average - mean) < _ROUNDING * 10 ** (2 - min(2, decimals)):
            return ""
        return self._letter(
            f"{row.label}: printed as {average}, though the values next to it have the mean "
            f"{mean:.{max(2, decimals)}f}."
        )

    def _letter(self, text: str) -> str:
        if text not in self._notes:
            n = len(self._notes)
            self._notes[text] = ascii_lowercase[n % 26] * (n // 26 + 1)
        return self._notes[text]


@dataclass(frozen=True)
class CellsOfColumn:
    """A column and how its cells are made; `chance` is what guessing gets, where it is known."""

    column: TableColumn
    measured: Callable[[ContenderSummary], TableCell]
    published: Callable[[PublishedRow], TableCell] = lambda _: TableCell(NONE)
    chance: float | None = None


def scores(summary: StudySummary, sources: SourceNotes) -> ResultTable:
    """Make the table of every task's score and every group's average."""
    board = summary.board
    chance = {
        task: score.chance
        for entry in board.entries
        for task, score in entry.scores.items()
        if score.chance is not None
    }
    columns: list[CellsOfColumn] = []
    for group, tasks in board.groups.items():
        columns += [_task(board, task, chance.get(task.name)) for task in tasks]
        if group in board.averaged and len(tasks) > 1:
            mean, over = f"mean of {len(tasks)}", TITLES[group]
            head = TableColumn(mean, f"{over}, the {mean}", over, average=True)
            known = [chance[task.name] for task in tasks if task.name in chance]
            guessed = fmean(known) if len(known) == len(tasks) else None
            columns.append(_average(board, group, head, guessed, sources))
    rows = mark_best(list(_rows(summary, columns, sources)))
    if chance:
        cells = tuple(TableCell.of(each.chance, board.decimals) for each in columns)
        rows.insert(0, TableRow("chance", "chance", cells))
    lead = f"{_sample_counts(board)} ± is half of a 95% bootstrap interval over samples."
    if board.published:
        lead += " Published rows were printed elsewhere and not measured here."
    return ResultTable("scores", "Scores", lead, tuple(c.column for c in columns), tuple(rows))


def averages(summary: StudySummary, sources: SourceNotes) -> ResultTable:
    """Make the table of averages and what they hide."""
    board = summary.board
    columns = []
    for group in board.averaged:
        title = TITLES[group]
        head = TableColumn(f"{title.split()[0].lower()} mean", f"{title}, the mean")
        columns.append(_average(board, group, head))
    lead = "± is half of a 95% bootstrap interval over samples."
    if any(each.normalized for each in summary.contenders):
        columns += _shares(board)
        tasks = " and ".join(g for g in GROUPS_OF_EXPERTS if g in board.averaged)
        lead += (
            " Of experts: the mean share of the individual experts' scores, in percent, over "
            f"{tasks} tasks. Worst task: where that share is least."
        )
    head = TableColumn(
        "no answer", "Most answers of a task that are empty or unparsable, in percent"
    )
    lead += " No answer: the task with the most answers that are empty or unparsable, in percent."
    rows = mark_best(
        list(_rows(summary, [*columns, CellsOfColumn(head, _no_answer)], sources)), len(columns)
    )
    return ResultTable(
        "averages",
        "Averages",
        lead,
        (*(each.column for each in columns), head),
        tuple(rows),
        charts=tuple(_charts(summary)),
    )


def _rows(
    summary: StudySummary, columns: Sequence[CellsOfColumn], sources: SourceNotes
) -> Iterator[TableRow]:
    """Make every contender's row, published rows of it below, and those of others at the end."""
    published = summary.board.published

    def printed(row: PublishedRow, kind: str) -> TableRow:
        mark = sources.mark(row)  # before those of its cells, so that letters are in order
        return TableRow(row.label, kind, tuple(c.published(row) for c in columns), mark)

    for each in summary.contenders:
        label, kind = each.entry.label, each.entry.contender.kind
        yield TableRow(label, kind, tuple(c.measured(each) for c in columns))
        yield from (printed(row, "published") for row in published if row.label == label)
    labels = {each.entry.label for each in summary.contenders}
    yield from (printed(row, "elsewhere") for row in published if row.label not in labels)


def _task(board: ScoreBoard, task: PaperTask, chance: float | None) -> CellsOfColumn:
    def measured(summary: ContenderSummary) -> TableCell:
        if task.name not in summary.tasks:
            return TableCell(MISSING if task.name in summary.entry.missing else NONE)
        mark = "†" if summary.entry.scores[task.name].missing else ""
        return TableCell.of(summary.tasks[task.name].value, board.decimals, mark)

    return CellsOfColumn(
        TableColumn(task.column, task.title, TITLES[task.group]),
        measured,
        lambda row: TableCell.of(row.values.get(task.name), board.decimals),
        chance,
    )


def _average(
    board: ScoreBoard,
    group: str,
    head: TableColumn,
    chance: float | None = None,
    sources: SourceNotes | None = None,
) -> CellsOfColumn:
    """Make the column of a group's mean; never of fewer tasks than the group has."""
    tasks, names = board.groups[group], board.averaged[group]

    def measured(summary: ContenderSummary) -> TableCell:
        entry = summary.entry
        if group not in summary.averages:
            return TableCell(NONE if set(names).isdisjoint(entry.missing) else MISSING)
        mark = "†" if any(entry.scores[name].missing for name in names) else ""
        return TableCell.of(summary.averages[group], board.decimals, mark)

    def published(row: PublishedRow) -> TableCell:
        mark = sources.slip(row, group, tasks) if sources else ""
        return TableCell.of(row.average(tasks, group), board.decimals, mark)

    return CellsOfColumn(head, measured, published, chance)


def _shares(board: ScoreBoard) -> list[CellsOfColumn]:
    """Make the columns of shares of the experts' scores: their mean and the least."""

    def worst(summary: ContenderSummary) -> TableCell:
        return _worst(summary.worst[0], summary.worst[1].value) if summary.worst else _worst()

    def least(row: PublishedRow) -> TableCell:
        shares = _published_shares(board, row)
        task = min(shares, key=shares.__getitem__, default="")
        return _worst(task, shares.get(task))

    mean = TableColumn("of experts", "Mean share of the individual experts' scores, in percent")
    return [
        CellsOfColumn(
            mean,
            lambda summary: TableCell.of(summary.normalized, 1),
            lambda row: TableCell.of(
                fmean(x) if (x := _published_shares(board, row).values()) else None, 1
            ),
        ),
        CellsOfColumn(
            TableColumn("worst task", "The least such share, in percent, and its task"),
            worst,
            least,
        ),
    ]


def _worst(task: str = "", value: float | None = None) -> TableCell:
    return TableCell(NONE) if value is None else TableCell(f"{value:.1f}", TASKS[task].column)


def _published_shares(board: ScoreBoard, row: PublishedRow) -> dict[str, float]:
    """Return a published row in percent of the experts' that was published with it."""
    names = [name for group in GROUPS_OF_EXPERTS for name in board.averaged.get(group, ())]
    for other in board.published:
        experts = board.experts
        if experts is None or (other.label, other.source) != (experts.label, row.source):
            continue
        if other is not row and {*names} <= row.values.keys() & other.values.keys():
            return {name: 100 * row.values[name] / other.values[name] for name in names}
    return {}


def _no_answer(summary: ContenderSummary) -> TableCell:
    if summary.no_answer is None:
        return TableCell(NONE)
    task, share = summary.no_answer
    return TableCell(f"{share:.1f}", TASKS[task].column if share > 0 else "")


def _charts(summary: StudySummary) -> Iterator[IntervalChart]:
    """Make a chart of every average that several contenders have."""
    for group in summary.board.averaged:
        bars = tuple(
            (each.entry.label, each.entry.contender.kind, each.averages[group])
            for each in summary.contenders
            if group in each.averages
        )
        if len(bars) > 1:
            yield IntervalChart(f"{TITLES[group]}, the mean", bars)


def _sample_counts(board: ScoreBoard) -> str:
    counts = [score.n for entry in board.entries for score in entry.scores.values()]
    if not counts:
        return "Nothing is scored yet."
    low, high = min(counts), max(counts)
    return f"{low:,} samples a task." if low == high else f"{low:,} to {high:,} samples a task."


def differences(summary: StudySummary, name: str) -> ResultTable:
    """Make the table of how much better a row's contender is than a column's."""
    both = [d for c in summary.comparisons[name] for d in (c, c.reversed())]
    cells = {(each.first, each.second): _difference(each) for each in both}
    compared = {each.first for each in both}
    labels = [each.entry.label for each in summary.contenders if each.entry.label in compared]
    kinds = {each.entry.label: each.entry.contender.kind for each in summary.contenders}
    rows = (
        TableRow(a, kinds[a], tuple(cells.get((a, b), TableCell("")) for b in labels))
        for a in labels
    )
    title = f"{TITLES[name]}, the mean" if name in TITLES else TASKS[name].title
    pairs = len(summary.comparisons[name])
    correction = f" with Holm's correction for {pairs} comparisons" if pairs > 1 else ""
    lead = (
        "The line's minus the column's score, on the same samples. *: more than chance, p < 0.05 "
        f"by paired bootstrap{correction}."
    )
    if out := [label for label in kinds if label not in labels]:
        lead += f" Without scores of all these tasks: {', '.join(out)}."
    heads = tuple(map(TableColumn, labels))
    return ResultTable(f"differences-{name}", f"Differences: {title}", lead, heads, tuple(rows))


def _difference(comparison: PairwiseComparison) -> TableCell:
    """Write a difference, and a star where it is significant; one that rounds to zero has none."""
    text = f"{comparison.difference.value:+.2f}"
    if text in ("+0.00", "-0.00"):
        return TableCell("0.00")
    return TableCell(text, "*" if comparison.significant else "")
