"""Tables as rows of cells, for whatever writes them.

scores        every task, and averages over groups of tasks
averages      with intervals, the share of the experts, the worst task, answers that are none
differences   of every two contenders, on the same samples
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..tasks import TASKS
from .published import Printed
from .resample import Figure
from .sources import Sources
from .summary import GROUP_OF_EXPERTS, Standing, Summary

TITLES = {"seen": "Seen tasks", "unseen": "Unseen tasks", "vision": "Vision tasks", "general": ""}
MISSING, NONE = "missing", "–"
ALPHA = 0.05


@dataclass(frozen=True)
class Cell:
    """What stands at one place.

    Attributes:
        text: A value, or why there is none.
        spread: Half its interval, with a sign; or a word that goes with it.
        mark: Letters of notes.
        best: Whether it is the best merge's.
    """

    text: str
    spread: str = ""
    mark: str = ""
    best: bool = False


@dataclass(frozen=True)
class Head:
    """The head of a column.

    Attributes:
        text: What stands there.
        title: What that is.
        group: What stands above it and its neighbors.
        average: Whether the column is an average of those before it.
    """

    text: str
    title: str = ""
    group: str = ""
    average: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        label: What it is about.
        sort: chance, zero-shot, individual, joint, merge or published.
        cells: One for every head.
        mark: Letters of notes.
    """

    label: str
    sort: str
    cells: tuple[Cell, ...]
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        name: scores, averages, or differences of a figure.
        title: Its heading.
        lead: What one must know to read it.
        heads: Of its columns, but for the labels'.
        lines: Its lines.
    """

    name: str
    title: str
    lead: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]


def grids(standing: Standing, sources: Sources) -> list[Grid]:
    """All tables of one protocol."""
    found = [scores(standing, sources)]
    if standing.board.averaged:
        found.append(averages(standing))
    return found + [differences(standing, name) for name, p in standing.pairs.items() if p]


# --- Scores ---------------------------------------------------------------------------------------


def scores(standing: Standing, sources: Sources) -> Grid:
    """Every task's score, every group's average, and rows that others printed."""
    board = standing.board
    heads: list[Head] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        tasks = board.of(group)
        over = TITLES[group]
        heads += [Head(task.column, task.title, over) for task in tasks]
        if group in board.averaged:
            mean = f"mean of {len(tasks)}"
            heads.append(Head(mean, f"{over}, the {mean}", over, average=True))
    lines = _bold(_lines(standing, sources))
    chance = _chance(standing)
    lead = f"{_samples(standing)} ± is half of a 95 % bootstrap interval over samples."
    if any(line.sort == "published" for line in lines):
        lead += " Published rows were printed elsewhere and not measured here."
    return Grid("scores", "Scores", lead, tuple(heads), (*chance, *lines))


def _lines(standing: Standing, sources: Sources) -> list[Line]:
    """Every contender, what others printed of it below; then what they printed of others."""
    printed = list(standing.board.printed)
    lines = []
    for summary in standing.summaries:
        lines.append(_measured(standing, summary))
        own = [row for row in printed if row.label == summary.entry.label]
        lines += [_printed(standing, row, sources) for row in own]
    labels = {summary.entry.label for summary in standing.summaries}
    return lines + [_printed(standing, row, sources) for row in printed if row.label not in labels]


def _measured(standing: Standing, summary: Summary) -> Line:
    board, entry = standing.board, summary.entry
    cells: list[Cell] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        for task in board.of(group):
            there = task.name in entry.scores
            mark = "†" if there and entry.scores[task.name].missing else ""
            text = MISSING if entry.missing(task.name) else NONE
            value = summary.tasks[task.name].value if there else None
            cells.append(Cell(_number(value, standing) if value is not None else text, mark=mark))
        if group in board.averaged:
            cells.append(_average(standing, summary, group))
    return Line(entry.label, entry.named.kind, tuple(cells))


def _average(standing: Standing, summary: Summary, group: str) -> Cell:
    figure, entry = summary.averages.get(group), summary.entry
    tasks = standing.board.of(group)
    if figure is None:
        lacking = any(entry.missing(task.name) for task in tasks)
        return Cell(MISSING if lacking else NONE)
    lesser = any(entry.scores[task.name].missing for task in tasks)
    return Cell(_number(figure.value, standing), _spread(figure), "†" if lesser else "")


def _printed(standing: Standing, row: Printed, sources: Sources) -> Line:
    board = standing.board
    cells: list[Cell] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        tasks = board.of(group)
        cells += [Cell(_or_none(row.values.get(task.name), standing)) for task in tasks]
        if group in board.averaged:
            mark = sources.slip(row, group, [task.name for task in tasks])
            cells.append(Cell(_or_none(row.average(tasks, group), standing), mark=mark))
    return Line(row.label, "published", tuple(cells), sources.mark(row))


def _chance(standing: Standing) -> list[Line]:
    """What guessing gets, where that is known of any task."""
    board = standing.board
    known: dict[str, float] = {}
    for entry in board.entries:
        known |= {t: s.chance for t, s in entry.scores.items() if s.chance is not None}
    if not known:
        return []
    cells: list[Cell] = []
    for group in dict.fromkeys(task.group for task in board.tasks):
        tasks = board.of(group)
        cells += [Cell(_or_none(known.get(task.name), standing)) for task in tasks]
        if group in board.averaged:
            whole = all(task.name in known for task in tasks)
            mean = fmean(known[task.name] for task in tasks) if whole else None
            cells.append(Cell(_or_none(mean, standing)))
    return [Line("chance", "chance", tuple(cells))]


def _bold(lines: Sequence[Line]) -> list[Line]:
    """The best merge of every column, where there are several to choose from."""
    merges = [line for line in lines if line.sort == "merge"]
    if len(merges) < 2:
        return list(lines)
    best = [
        max((v for v in map(_value, column) if v is not None), default=None)
        for column in zip(*(line.cells for line in merges), strict=True)
    ]
    return [
        replace(line, cells=tuple(map(_marked, line.cells, best))) if line.sort == "merge" else line
        for line in lines
    ]


def _marked(cell: Cell, best: float | None) -> Cell:
    return replace(cell, best=best is not None and _value(cell) == best)


def _value(cell: Cell) -> float | None:
    return None if cell.text in (MISSING, NONE) else float(cell.text)


# --- Averages -------------------------------------------------------------------------------------


def averages(standing: Standing) -> Grid:
    """Averages and what they hide."""
    board = standing.board
    heads = [
        Head(f"{TITLES[g].split()[0].lower()} mean", f"{TITLES[g]}, the mean")
        for g in board.averaged
    ]
    shares = any(summary.normalized for summary in standing.summaries)
    lead = "± is half of a 95 % bootstrap interval over samples."
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
    lines = []
    for summary in standing.summaries:
        cells = [_average(standing, summary, group) for group in board.averaged]
        if shares:
            cells += [_with(summary.normalized), _worst(summary)]
        cells.append(_silent(summary))
        lines.append(Line(summary.entry.label, summary.entry.named.kind, tuple(cells)))
    return Grid("averages", "Averages", lead, tuple(heads), tuple(lines))


def _with(figure: Figure | None) -> Cell:
    return Cell(NONE) if figure is None else Cell(f"{figure.value:.1f}", _spread(figure, 1))


def _worst(summary: Summary) -> Cell:
    if summary.worst is None:
        return Cell(NONE)
    task, figure = summary.worst
    return Cell(f"{figure.value:.1f}", TASKS[task].column)


def _silent(summary: Summary) -> Cell:
    if summary.silent is None:
        return Cell(NONE)
    task, share = summary.silent
    return Cell(f"{share:.1f}", TASKS[task].column if share > 0 else "")


# --- Differences ----------------------------------------------------------------------------------


def differences(standing: Standing, name: str) -> Grid:
    """How much better the line's contender is than the column's, on the same samples."""
    pairs = standing.pairs[name]
    labels = list(dict.fromkeys(label for pair in pairs for label in pair))
    kinds = {s.entry.label: s.entry.named.kind for s in standing.summaries}
    lines = []
    for one in labels:
        cells = []
        for other in labels:
            found, sign = (pairs[one, other], 1) if (one, other) in pairs else (None, 1)
            if (other, one) in pairs:
                found, sign = pairs[other, one], -1
            if found is None:
                cells.append(Cell(""))
                continue
            told = found.p < ALPHA
            cells.append(Cell(f"{sign * found.mean:+.2f}", "*" if told else ""))
        lines.append(Line(one, kinds[one], tuple(cells)))
    where = f"{TITLES[name]}, the mean" if name in TITLES else TASKS[name].title
    lead = (
        "The line's minus the column's score, on the same samples. *: more than chance, p < 0.05 "
        f"by paired bootstrap with Holm's correction for {len(pairs)} comparisons."
    )
    out = [s.entry.label for s in standing.summaries if s.entry.label not in labels]
    if out:
        lead += f" Without scores of all these tasks: {', '.join(out)}."
    heads = tuple(Head(label) for label in labels)
    return Grid(f"differences-{name}", f"Differences: {where}", lead, heads, tuple(lines))


# --- Numbers --------------------------------------------------------------------------------------


def _samples(standing: Standing) -> str:
    counts = [s.n for each in standing.board.entries for s in each.scores.values()]
    if not counts:
        return "Nothing is scored yet."
    low, high = min(counts), max(counts)
    return f"{low:,} samples a task." if low == high else f"{low:,} to {high:,} samples a task."


def _or_none(value: float | None, standing: Standing) -> str:
    return NONE if value is None else _number(value, standing)


def _number(value: float, standing: Standing) -> str:
    return f"{value:.{decimals(standing.board.printed)}f}"


def _spread(figure: Figure, places: int = 2) -> str:
    return f"±{figure.half:.{places}f}"


def decimals(rows: Iterable[Printed]) -> int:
    """As many as were printed, so that rows can be read beside each other; 1 where none were."""
    texts = (f"{value!r}".rpartition(".")[2] for row in rows for value in row.values.values())
    return min(2, max((len(text) for text in texts if text != "0"), default=1))
