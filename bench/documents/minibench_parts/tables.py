"""Tables of docs/minibench.md, from the raw results alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from robustmerge_bench.mini.tasks import TASKS
from robustmerge_bench.results.markdown import compact

Data = dict[str, Any]
Table = list[str]
T = TypeVar("T")

WORDS = {
    "default": "own scale",
    "norm-matched": "norm-matched",
    "geometric": "geometric middle",
    "sweep": "tuned",
}
SCALES = tuple(WORDS)
"""The scale protocols of the document, which are not all that the benchmark has."""

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
    """Write the value of a score."""
    return f"{figure[0]:.{digits}f}" if figure else DASH


def spread(figure: Sequence[float] | None, digits: int = 1) -> str:
    """Write the value with half of its interval."""
    if not figure or len(figure) < 3:
        return number(figure, digits)
    value, low, high = figure
    return f"{value:.{digits}f} ±{(high - low) / 2:.{digits}f}"


def titled(view: Data) -> str:
    """Name a view, such as shared, seeds 0, 1, 2."""
    seeds = ", ".join(map(str, view["seeds"]))
    return f"{view['family']}, {'seeds' if len(view['seeds']) > 1 else 'seed'} {seeds}"


def section(view: Data, scale: str, rank: str) -> Data | None:
    """Return the merges of a view at a scale and rank, if there are any."""
    wanted = (scale, rank)
    return next((s for s in view["sections"] if (s["scale"], s["rank"]) == wanted), None)


def fullest(views: Sequence[Data]) -> Data:
    """Return the view with most merges; the first of these."""
    return max(views, key=lambda view: sum(len(ranking["rows"]) for ranking in view["sections"]))


def row_of(data: Data | None, merge: str) -> Data | None:
    """Return a merge's row in a section."""
    return next((row for row in data["rows"] if row["merge"] == merge), None) if data else None


def merges(view: Data) -> list[str]:
    """Order all merges of a view by their tuned score, or by that at another scale."""
    order: list[str] = []
    for scale in reversed(tuple(SCALES)):
        for rank in ("input", "full"):
            order += (section(view, scale, rank) or {"order": []})["order"]
    return list(dict.fromkeys(order))


def references(view: Data) -> dict[str, Data]:
    """Return zero-shot, the experts, and joint training, as far as measured."""
    named = {"zero-shot": "zero_shot", "own experts": "experts", "joint training": "joint"}
    return {name: view[key] for name, key in named.items() if view[key]}


def tasks(view: Data) -> Table:
    """Write the twelve tasks, with scores of the models without a merge."""

    def score(model: str) -> Callable[[str], str]:
        return lambda name: number(view[model]["tasks"].get(name)) if view[model] else DASH

    return table_of(
        (*view["seen"], *view["unseen"]),
        ("task", str),
        ("stands for", lambda name: TASKS[name].title),
        ("sort", lambda name: "seen" if name in view["seen"] else "unseen"),
        ("scored by", lambda name: TASKS[name].metric),
        ("chance", lambda name: f"{TASKS[name].chance:.0f}"),
        ("zero-shot", score("zero_shot")),
        ("expert", score("experts")),
        ("joint", score("joint")),
        left=4,
    )


def seen(summary: Data) -> str:
    """Write a model's seen average."""
    return number(summary["seen"])


def overview(
    view: Data,
    cell: Callable[[Data], str] = seen,
    ranks: Sequence[str] = ("input", "full"),
    corner: str = "",
) -> Table:
    """Write one figure of all merges at every scale and rank.

    Args:
        view: The view.
        cell: Makes a cell from the summary of a model; seen averages unless given.
        ranks: Which ranks; a single one is not named in the head.
        corner: The head of the first column.
    """
    kinds = [(scale, rank) for scale in SCALES for rank in ranks if section(view, scale, rank)]
    titles = [f"{WORDS[s]}, {r}" if len(ranks) > 1 else WORDS[s] for s, r in kinds]
    rows = [
        [name, cell(summary), *("" for _ in kinds[1:])]
        for name, summary in references(view).items()
    ]
    for merge in merges(view):
        data = [row_of(section(view, *kind), merge) for kind in kinds]
        rows.append([merge, *(cell(row) if row else DASH for row in data)])
    return table([corner, *titles], rows)


def scale_table(view: Data, scale: str) -> Table:
    """Write all merges at one scale: at input rank, with columns of their full rank."""
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
    order = [merge for data in (first, second) if data for merge in data["order"]]
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
    text = f"{low:.3g}" if low == high else f"{low:.2g} to {high:.2g}"
    return text + "*" * row["at_limit"]


def per_task(
    view: Data, scale: str, rank: str = "input", only: Collection[str] | None = NOTABLE
) -> Table:
    """Write scores of every task, for models without a merge, these merges and the best one.

    Args:
        view: The view.
        scale: The scale of the merges.
        rank: Their rank.
        only: Merges; all with None.
    """
    data = section(view, scale, rank)
    if not data:
        return []
    names = (*view["seen"], *view["unseen"])
    rows = [
        [name, *(number(summary["tasks"].get(task)) for task in names)]
        for name, summary in references(view).items()
    ]
    best = data["order"][0]
    for row in data["rows"]:
        if only is None or row["merge"] in (best, *only):
            rows.append([row["merge"], *(number(row["tasks"][task]) for task in names)])
    return table(("", *names), rows)


def level_with_best(data: Data) -> list[str]:
    """Name the merges that are not significantly different from the best one."""
    signs = data["beats"][data["order"][0]]
    return [m for m, sign in zip(data["order"], signs, strict=True) if sign == "."][1:]


def pairwise(
    view: Data, scale: str, rank: str = "input", only: Collection[str] | None = NOTABLE
) -> Table:
    """Compare these merges, or all with None, and the best one."""
    data = section(view, scale, rank)
    if not data:
        return []
    order: list[str] = data["order"]
    shown = [m for m in order if only is None or m in (order[0], *only)]
    words = {"+": "beats", "-": "loses", ".": "level"}
    signs = {m: dict(zip(order, data["beats"][m], strict=True)) for m in shown}
    rows = ([a, *("" if a == b else words[signs[a][b]] for b in shown)] for a in shown)
    return table(("", *shown), rows)


def matrix(view: Data) -> Table:
    """Write scores of every expert on every task."""
    names = (*view["seen"], *view["unseen"])
    return table(
        ("expert", *names),
        ([expert, *(f"{m[task]:.1f}" for task in names)] for expert, m in view["matrix"].items()),
    )


def gates(view: Data) -> Table:
    """Write what has to hold before a ranking means anything."""
    return table_of(
        view["gates"],
        ("gate", lambda gate: gate["name"]),
        ("wanted", lambda gate: gate["wanted"]),
        ("measured", lambda gate: gate["measured"]),
        ("", lambda gate: "passed" if gate["passed"] else "**failed**"),
        left=4,
    )


def study(data: Data) -> Table:
    """Write a study without curves: a row for every variant, at its own scale and tuned."""
    points = {(p["row"], p["scale"]): p for p in data["points"]}
    variants = {p["row"]: p for p in reversed(data["points"])}  # any point of each
    tuned = {p["row"]: p for p in data["points"] if p["scale"] == "sweep"}
    columns: list[tuple[str, Callable[[str], str]]] = [
        ("", str),
        ("merge", lambda name: f"`{variants[name]['merge']}`"),
    ]

    def average(what: str, scale: str, name: str) -> str:
        return spread(points[name, scale][what]) if (name, scale) in points else DASH

    for scale in (s for s in SCALES if any(p["scale"] == s for p in data["points"])):
        for what in ("seen", "unseen"):
            columns.append((f"{what}, {WORDS[scale]}", partial(average, what, scale)))
        if scale == "sweep":
            columns.append(("factor", lambda name: factor(tuned[name]) if name in tuned else DASH))
    if any(p["paper"] for p in data["points"]):
        printed = {n: " / ".join(f"{x:.1f}" for x in p["paper"]) for n, p in variants.items()}
        columns.append(("in the paper", lambda name: printed[name] or DASH))
    return table_of(dict.fromkeys(p["row"] for p in data["points"]), *columns, left=2)


def curves(data: Data, scale: str, what: str = "seen") -> Table:
    """Write a study with curves at one scale: a row for every curve, a column for every x."""
    points = {(p["row"], p["x"]): p for p in data["points"] if p["scale"] == scale}
    if not points:
        return []
    columns = sorted({x for _, x in points})
    rows = [
        [name, *(number(points[name, x][what]) if (name, x) in points else DASH for x in columns)]
        for name in dict.fromkeys(name for name, _ in points)
    ]
    return table(("", *(f"{x:g}" for x in columns)), rows)
