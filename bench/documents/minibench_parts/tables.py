"""Tables of docs/minibench.md, from the raw results alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from robustmerge_bench.mini.runs.contender import SCALES
from robustmerge_bench.mini.tasks import TASKS
from robustmerge_bench.results.markdown import compact

Data = dict[str, Any]
Table = list[str]
T = TypeVar("T")

SAID = {
    "default": "own scale",
    "norm-matched": "norm-matched",
    "geometric": "geometric middle",
    "sweep": "tuned",
}
NOTABLE = (
    "task-arithmetic",
    "dare",
    "ties",
    "pcb",
    "robustmerge",
    "robustmerge-paper",
    "tsv-m",
    "iso-c",
    "wudi",
)
"""The paper's rivals, its method in both readings, and three that came after it."""

DASH = "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> Table:
    """Write a Markdown table, its first columns, of words, aligned to the left."""
    return compact(head, rows, words)


def table_of(rows: Iterable[T], *columns: tuple[str, Callable[[T], str]], left: int = 1) -> Table:
    """Write a Markdown table, given the head of every column and what makes its cells."""
    return compact(
        [head for head, _ in columns], [[c(row) for _, c in columns] for row in rows], left
    )


def number(figure: Sequence[float] | None, digits: int = 1) -> str:
    """The value of a figure."""
    return f"{figure[0]:.{digits}f}" if figure else DASH


def spread(figure: Sequence[float] | None, digits: int = 1) -> str:
    """The value with half of its interval."""
    if not figure or len(figure) < 3:
        return number(figure, digits)
    value, low, high = figure
    return f"{value:.{digits}f} ±{(high - low) / 2:.{digits}f}"


def titled(view: Data) -> str:
    """What a view is called, such as shared, seeds 0, 1, 2."""
    seeds = ", ".join(map(str, view["seeds"]))
    return f"{view['family']}, {'seeds' if len(view['seeds']) > 1 else 'seed'} {seeds}"


def section(view: Data, scale: str, rank: str) -> Data | None:
    """The merges of a view at a scale and rank, if there are any."""
    wanted = (scale, rank)
    return next((s for s in view["sections"] if (s["scale"], s["rank"]) == wanted), None)


def row_of(found: Data | None, merge: str) -> Data | None:
    """A merge's row in a section."""
    return next((row for row in found["rows"] if row["merge"] == merge), None) if found else None


def merges(view: Data) -> list[str]:
    """All merges of a view: the best at its tuned scale first, or at the first scale there is."""
    order: list[str] = []
    for scale in reversed(tuple(SCALES)):
        for rank in ("input", "full"):
            order += (section(view, scale, rank) or {"order": []})["order"]
    return list(dict.fromkeys(order))


def references(view: Data) -> dict[str, Data]:
    """Zero-shot, the experts, and joint training, as far as they are there."""
    named = {"zero-shot": "zero_shot", "own experts": "experts", "joint training": "joint"}
    return {name: view[key] for name, key in named.items() if view[key]}


def tasks(view: Data) -> Table:
    """The twelve tasks, with what the models without a merge score."""
    head = ("task", "stands for", "sort", "scored by", "chance", "zero-shot", "expert", "joint")
    rows = []
    for name in (*view["seen"], *view["unseen"]):
        task = TASKS[name]
        scores = [
            number(view[key]["tasks"].get(name)) if view[key] else DASH
            for key in ("zero_shot", "experts", "joint")
        ]
        sort = "seen" if name in view["seen"] else "unseen"
        rows.append((name, task.title, sort, task.metric, f"{task.chance:.0f}", *scores))
    return table(head, rows, words=4)


def overview(view: Data) -> Table:
    """Seen averages of all merges at every scale, at both ranks."""
    kinds = [
        (scale, rank)
        for scale in SCALES
        for rank in ("input", "full")
        if section(view, scale, rank)
    ]
    head = ["", *(f"{SAID[scale]}, {rank}" for scale, rank in kinds)]
    rows = [
        [name, number(summary["seen"]), *("" for _ in kinds[1:])]
        for name, summary in references(view).items()
    ]
    for merge in merges(view):
        found = [row_of(section(view, *kind), merge) for kind in kinds]
        rows.append([merge, *(number(row["seen"]) if row else DASH for row in found)])
    return table(head, rows)


def scale_table(view: Data, scale: str) -> Table:
    """All merges at one scale: at input rank, and beside it what full rank makes of them."""
    first, second = (section(view, scale, rank) for rank in ("input", "full"))
    if not first and not second:
        return []
    swept, both = scale == "sweep", bool(first and second)  # without a sweep the factor is 1
    head = ["", "seen", "worst task", "unseen", "kept %", *["factor"] * swept, "won/lost"]
    head += ["seen, full rank", "unseen, full", "kept %, full"] * both
    rows = [
        [name, *_averages(summary), *[""] * (len(head) - 5)]
        for name, summary in references(view).items()
    ]
    order = [merge for found in (first, second) if found for merge in found["order"]]
    for merge in dict.fromkeys(order):
        row, full = row_of(first or second, merge), row_of(second, merge)
        rows.append([merge, *_merge_cells(row, swept), *_full_cells(full) * both])
    return table(head, rows)


def _merge_cells(row: Data | None, swept: bool) -> list[str]:
    if not row:
        return [DASH] * (5 + swept)
    return [*_averages(row), *[factor(row)] * swept, f"{row['won']}/{row['lost']}"]


def _full_cells(row: Data | None) -> list[str]:
    if not row:
        return [DASH] * 3
    return [spread(row["seen"]), number(row["unseen"]), number(row["kept"], 0)]


def _averages(summary: Data) -> list[str]:
    worst = f"{number(summary['worst'])} {summary['worst_task']}"
    kept = spread(summary["kept"], 0)
    return [spread(summary["seen"]), worst, spread(summary["unseen"]), kept]


def factor(row: Data) -> str:
    """Write the factor on a merge, or the range over seeds."""
    low, high = min(row["factors"]), max(row["factors"])
    said = f"{low:.3g}" if low == high else f"{low:.2g} to {high:.2g}"
    return said + ("*" if row["at_limit"] else "")


def per_task(view: Data, scale: str, rank: str = "input") -> Table:
    """Scores of every task, for models without a merge, notable merges and the best one."""
    found = section(view, scale, rank)
    if not found:
        return []
    names = (*view["seen"], *view["unseen"])
    rows = [
        [name, *(number(summary["tasks"].get(task)) for task in names)]
        for name, summary in references(view).items()
    ]
    best = found["order"][0]
    for row in found["rows"]:
        if row["merge"] in (best, *NOTABLE):
            rows.append([row["merge"], *(number(row["tasks"][task]) for task in names)])
    return table(("", *names), rows)


def level_with_best(found: Data) -> list[str]:
    """Merges that are not told apart from the best one."""
    signs = found["beats"][found["order"][0]]
    return [m for m, sign in zip(found["order"], signs, strict=True) if sign == "."][1:]


def beats(view: Data, scale: str, rank: str = "input") -> Table:
    """Who beats whom among the notable merges and the best one."""
    found = section(view, scale, rank)
    if not found:
        return []
    order: list[str] = found["order"]
    shown = [m for m in order if m in (order[0], *NOTABLE)]
    rows = []
    for one in shown:
        signs = dict(zip(order, found["beats"][one], strict=True))
        rows.append([one, *("" if one == other else _word(signs[other]) for other in shown)])
    return table(("", *shown), rows)


def _word(sign: str) -> str:
    return {"+": "beats", "-": "loses", ".": "level"}[sign]


def matrix(view: Data) -> Table:
    """Every expert on every task."""
    names = (*view["seen"], *view["unseen"])
    return table(
        ("expert", *names),
        ([expert, *(f"{m[task]:.1f}" for task in names)] for expert, m in view["matrix"].items()),
    )


def gates(view: Data) -> Table:
    """What has to hold before a ranking means anything."""
    return table(
        ("gate", "wanted", "measured", ""),
        (
            (g["name"], g["wanted"], g["measured"], "passed" if g["passed"] else "**failed**")
            for g in view["gates"]
        ),
        words=4,
    )


def study(found: Data) -> Table:
    """A study without curves: a row for every variant, at its own scale and tuned."""
    points = {(p["row"], p["scale"]): p for p in found["points"]}
    names = list(dict.fromkeys(p["row"] for p in found["points"]))
    scales = [s for s in SCALES if any(p["scale"] == s for p in found["points"])]
    paper = any(p["paper"] for p in found["points"])
    head = ["", "merge"]
    for scale in scales:
        head += [f"seen, {SAID[scale]}", f"unseen, {SAID[scale]}"]
    head += ["factor"] * ("sweep" in scales) + ["in the paper"] * paper
    rows = []
    for name in names:
        there = [points.get((name, scale)) for scale in scales]
        some = next(p for p in there if p)
        cells = [name, f"`{some['merge']}`"]
        for point in there:
            cells += [spread(point["seen"]), spread(point["unseen"])] if point else [DASH] * 2
        if "sweep" in scales:
            tuned = points.get((name, "sweep"))
            cells.append(factor(tuned) if tuned else DASH)
        if paper:
            cells.append(" / ".join(f"{value:.1f}" for value in some["paper"]) or DASH)
        rows.append(cells)
    return table(head, rows, words=2)


def curves(found: Data, scale: str, what: str = "seen") -> Table:
    """A study with curves at one scale: a row for every curve, a column for every x."""
    points = {(p["row"], p["x"]): p for p in found["points"] if p["scale"] == scale}
    if not points:
        return []
    places = sorted({x for _, x in points})
    rows = [
        [name, *(number(points[name, x][what]) if (name, x) in points else DASH for x in places)]
        for name in dict.fromkeys(name for name, _ in points)
    ]
    return table(("", *(f"{x:g}" for x in places)), rows)
