"""The tables of findings in docs/minibench.md: a few rows and columns of the full tables.

Bold is the best merge of a full table, italics are merges not significantly different from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .tables import (
    DASH,
    WORDS,
    Data,
    Table,
    factor,
    fullest,
    number,
    references,
    row_of,
    section,
    spread,
    table,
)

Cell = Callable[[Data, Data], str]
"""Makes a cell of a merge's row and its section."""

RIVALS = ("robustmerge", "task-arithmetic", "ties", "pcb", "dare")
LATER = (
    *("optmerge", "aswudi", "ace", "do-merging", "ocap", "robustmerge-paper", "robustmerge"),
    *("magnitude-prune", "swudi", "wudi", "iso-cts", "iso-c", "dc-merge", "tsv-m"),
    *("task-arithmetic", "core-posterior", "karcher"),
)
OVER_SEEDS = (
    *("ace", "aswudi", "dc-merge", "optmerge", "iso-c", "tsv-m", "task-arithmetic"),
    *("robustmerge", "ties", "pcb"),
)
FROZEN = ("ace", "tsv-m", "task-arithmetic", "robustmerge", "ties")
SCALED = (
    *("task-arithmetic", "robustmerge", "ties", "tsv-m", "optmerge", "dc-merge", "ocap", "iso-c"),
    *("iso-cts", "ace", "wudi", "act"),
)
UNSEEN = ("ace", "dc-merge", "iso-cts", "tsv-m", "robustmerge", "ties")
UNTUNED = (
    ("ace", "sweep", "full"),
    ("ocap", "default", "full"),
    ("optmerge", "norm-matched", "full"),
    ("ace", "sweep", "input"),
    ("do-merging", "norm-matched", "input"),
    ("tsv-m", "default", "input"),
    ("task-arithmetic", "default", "input"),
    ("robustmerge", "default", "input"),
)
"""Merges at scales that need no validation data, below the best tuned merge of their rank."""
LOST = (
    "ace",
    "optmerge",
    "regmean-rows",
    "aswudi",
    "robustmerge",
    "tsv-m",
    "dc-merge",
    "iso-cts",
)


def seen(row: Data, ranking: Data) -> str:
    """Write a seen average, and whether it is the best, or as good, of its full table."""
    text, best = number(row["seen"]), ranking["order"][0]
    if row["merge"] == best:
        return f"**{text}**"
    as_good = ranking["beats"][best][ranking["order"].index(row["merge"])] == "."
    return f"*{text}*" if as_good else text


def with_interval(row: Data, _: Data) -> str:
    """Write a seen average with half its interval."""
    return spread(row["seen"])


def average(name: str, digits: int = 1) -> Cell:
    """Return what writes an average, such as unseen or kept."""
    return lambda row, _: number(row[name], digits)


def task(name: str) -> Cell:
    """Return what writes a task's score."""
    return lambda row, _: number(row["tasks"].get(name))


def against(rival: str) -> Cell:
    """Return what compares a merge with another one."""
    words = {"+": "above", "-": "below", ".": "level"}

    def compare(row: Data, ranking: Data) -> str:
        if row["merge"] == rival or rival not in ranking["order"]:
            return ""
        return words[ranking["beats"][row["merge"]][ranking["order"].index(rival)]]

    return compare


@dataclass(frozen=True)
class FindingColumn:
    """A column of a table of findings.

    Attributes:
        head: Its name.
        view: The experts: `one` set, or the name of a family.
        scale: The scale protocol.
        rank: The rank of the merges.
        cell: What makes a cell.
    """

    head: str
    view: str
    scale: str
    rank: str
    cell: Cell = seen


@dataclass(frozen=True)
class FindingTable:
    """A table of findings: rows of merges, below those of models without a merge."""

    merges: Sequence[str]
    columns: Sequence[FindingColumn]
    models: Sequence[str] = ()


def _at_both_ranks(scale: str, words: str, view: str = "one") -> list[FindingColumn]:
    return [FindingColumn(f"{words}, {r} rank", view, scale, r) for r in ("input", "full")]


_SCALES = {
    "own scale": "default",
    "norm-matched": "norm-matched",
    "geometric middle": "geometric",
    "tuned": "sweep",
}
_STARTS = {"shared": "shared A", "independent": "independent A"}

FINDINGS: Mapping[str, FindingTable] = {
    "rivals": FindingTable(
        RIVALS,
        [
            FindingColumn("seen, tuned", "one", "sweep", "input", with_interval),
            FindingColumn("kept %", "one", "sweep", "input", average("kept", 0)),
            FindingColumn("than RobustMerge", "one", "sweep", "input", against("robustmerge")),
            FindingColumn("seen, own scale", "one", "default", "input", with_interval),
            FindingColumn("than RobustMerge", "one", "default", "input", against("robustmerge")),
        ],
    ),
    "later": FindingTable(
        LATER,
        [
            FindingColumn("tuned, input rank", "one", "sweep", "input"),
            FindingColumn("than RobustMerge", "one", "sweep", "input", against("robustmerge")),
            FindingColumn("tuned, full rank", "one", "sweep", "full"),
            FindingColumn("than RobustMerge", "one", "sweep", "full", against("robustmerge")),
            FindingColumn("own scale, input rank", "one", "default", "input"),
        ],
    ),
    "seeds": FindingTable(
        OVER_SEEDS,
        [
            FindingColumn(f"{words}, {rank} rank", family, "sweep", rank)
            for rank in ("input", "full")
            for family, words in _STARTS.items()
        ],
    ),
    "frozen": FindingTable(
        FROZEN,
        [
            FindingColumn("shared A, projector trained", "one", "sweep", "full"),
            FindingColumn("frozen", "shared-frozen", "sweep", "full"),
            FindingColumn("independent A, trained", "independent", "sweep", "full"),
            FindingColumn("frozen", "independent-frozen", "sweep", "full"),
        ],
    ),
    "data": FindingTable(
        ("regmean-rows", "ace", "fisher"),
        [*_at_both_ranks("default", "own scale"), *_at_both_ranks("sweep", "tuned")],
    ),
    "scales": FindingTable(
        SCALED,
        [
            *(FindingColumn(w, "one", s, "full", average("seen")) for w, s in _SCALES.items()),
            FindingColumn("factor, tuned", "one", "sweep", "full", lambda row, _: factor(row)),
        ],
    ),
    "unseen": FindingTable(
        UNSEEN,
        [
            FindingColumn("unseen, tuned", "one", "sweep", "full", average("unseen")),
            *(
                FindingColumn(f"`{name}`", "one", "sweep", "full", task(name))
                for name in ("aok", "imr", "s2w", "tab")
            ),
        ],
        ("zero-shot", "joint training"),
    ),
    "lost": FindingTable(
        LOST,
        [
            FindingColumn("`ocr`, tuned", "one", "sweep", "full", task("ocr")),
            FindingColumn("`rec` (boxes)", "one", "sweep", "full", task("rec")),
            FindingColumn("seen", "one", "sweep", "full", average("seen")),
        ],
        ("zero-shot", "own experts"),
    ),
}


def finding(name: str, views: Sequence[Data]) -> Table:
    """Make a table of findings from the views there are."""
    spec, named = FINDINGS[name], named_views(views)
    sections = [
        section(named[c.view], c.scale, c.rank) if c.view in named else None for c in spec.columns
    ]
    columns = [(c, ranking) for c, ranking in zip(spec.columns, sections, strict=True) if ranking]
    if not columns:
        return ["Not run."]
    models = {k: v for k, v in references(named["one"]).items() if k in spec.models}
    rows = [
        [model, *(c.cell(data, ranking) for c, ranking in columns)]
        for model, data in models.items()
    ]
    for merge in spec.merges:
        cells = [
            column.cell(row, ranking) if (row := row_of(ranking, merge)) else DASH
            for column, ranking in columns
        ]
        if set(cells) - {DASH}:
            rows.append([f"`{merge}`", *cells])
    return table(("", *(column.head for column, _ in columns)), rows)


def untuned(views: Sequence[Data]) -> Table:
    """Show merges that need no tuning, next to the best tuned one, over several seeds."""
    named = named_views(views)
    families = {f: words for f, words in _STARTS.items() if f in named}
    rows = []
    for merge, scale, rank in UNTUNED:
        merges = [row_of(section(named[f], scale, rank), merge) for f in families]
        if any(merges):
            cells = [spread(row["seen"]) if row else DASH for row in merges]
            rows.append([f"`{merge}`", WORDS[scale], rank, *cells])
    if not rows:
        return ["Not run."]
    return table(("", "scale", "rank", *families.values()), rows, words=3)


def regime(views: Sequence[Data]) -> Table:
    """Compare the models without a merge with the best merge."""
    view = named_views(views)["one"]
    rows = [
        [name, *(number(model[key]) for key in ("seen", "unseen"))]
        for name, model in references(view).items()
    ]
    merges = [row for ranking in view["sections"] for row in ranking["rows"]]
    if merges:
        best = max(merges, key=lambda row: row["seen"][0])
        rows.insert(
            1, [f"best merge (`{best['merge']}`)", number(best["seen"]), number(best["unseen"])]
        )
    return table(("", "seen", "unseen"), rows)


def criteria(studies: Mapping[str, Data]) -> Table:
    """Compare criteria of pruning, tuned, on factors and on whole updates."""
    points = studies.get("criterion", {"points": []})["points"]
    scores = {p["row"]: spread(p["seen"]) for p in points if p["scale"] == "sweep"}
    if not scores:
        return ["Not run."]
    rows = [
        [name, *(scores.get(f"{name}, on {what}", DASH) for what in ("factors", "deltas"))]
        for name in ("magnitude", "random", "elected sign")
    ]
    return table(("seen, tuned", "pruned factors", "pruned updates"), rows)


def named_views(views: Sequence[Data]) -> dict[str, Data]:
    """Name the set of experts of which most merges were examined `one`, others by family."""
    main = fullest(views)
    return {view["family"]: view for view in views if view is not main} | {"one": main}
