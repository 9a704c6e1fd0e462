"""Tables of docs/analysis.md, from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from minibench_parts.tables import DASH, SAID, Table, table

Data = Mapping[str, Any]

MAIN = (
    "directions.largest.answer, mean, task mean",
    "kept.both, weighted, task mean",
    "directions.largest.both_matched, mean, task mean",
    "directions.rest.both_matched, mean, task mean",
    "directions.largest.left, mean, task mean",
    "directions.rest.left, mean, task mean",
    "directions.largest.right, mean, task mean",
    "directions.rest.right, mean, task mean",
    "directions.largest.both, mean, task mean",
    "directions.rest.both, mean, task mean",
    "directions.rest.ratio, mean, task mean",
)
LISTED = 6
"""Figures in lists of the strongest."""


def slots(found: Data) -> dict[str, Callable[[], Table]]:
    """What fills the template, but for the paper's claims."""
    made: dict[str, Callable[[Data], Table]] = {
        "made": _made,
        "related": _related,
        "prediction": _prediction,
        "strongest": _strongest,
        "choices": _choices,
        "beyond_rank": _beyond_rank,
        "input_tuned": lambda found: _short(found["input"]["sweep"]),
        "input_own": lambda found: _short(found["input"]["default"]),
        "spanning": lambda found: _short(found["spanning"]),
        "tasks": _tasks,
        "subsets": _subsets,
        "size": _size,
        "zones": lambda found: _zones(found["zones"]),
        "zones_input": lambda found: _zones(found["zones at input rank"]),
        "zones_elsewhere": lambda found: _zones_elsewhere(found.get("elsewhere")),
    }
    return {name: partial(make, found) for name, make in made.items()}


def pictures(folder: str) -> dict[str, Callable[[], Table]]:
    """The lines that show the pictures."""
    said = {
        "prediction": "Seen average of tuned merges against answer, and against similarity; "
        "hollow points do not have full rank",
        "size": "The best factor on a merge against its size",
    }
    return {
        f"picture_{name}": partial(lambda line: [line], f"![{words}]({folder}/{name}.png)")
        for name, words in said.items()
    }


def named(figure: str) -> str:
    """A figure in words: directions.rest.left, mean, task mean is left, rest."""
    place, pooling, *over = figure.split(", ") if ", " in figure else (figure, "")
    parts = place.split(".")
    what = f"`{parts[-1]}`" + (f" {', '.join(parts[1:-1])}" if len(parts) > 2 else "")
    source = "" if parts[0] in ("directions", place) else f" ({parts[0]})"
    notes = [n for n in (*["by energy"] * (pooling == "weighted"), *over) if n != "task mean"]
    return what + source + (f", {', '.join(notes)}" if notes else "")


def rho(value: float | None) -> str:
    return DASH if value is None else f"{value:+.2f}".replace("+0.00", "0.00")


def with_interval(value: float | None, interval: Sequence[float | None]) -> str:
    if value is None or None in interval:
        return rho(value)
    return f"{rho(value)} [{rho(interval[0])}, {rho(interval[1])}]"


def chance(p: float | None) -> str:
    return DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _made(found: Data) -> Table:
    made = found["made"]
    main = found["full"]["sweep"]["seen"]
    return [
        f"{main['merges']} merges at full rank in {main['groups']} groups of related merges, "
        f"{found['input']['default']['merges']} at input rank; {main['figures']} figures tried. "
        f"Diagnosing {made['merges']} merges took {made['seconds']['diagnosing']} s of one "
        f"busy core; robustmerge {made['robustmerge']}."
    ]


def _related(found: Data) -> Table:
    return ["; ".join(", ".join(group) for group in found["kin"]) + "."]


def _prediction(found: Data) -> Table:
    head: tuple[str, ...] = ("figure", "tuned", "p, all figures", "norm-matched", "p", "own scale")
    at = [
        {row["figure"]: row for row in found["full"][scale]["seen"]["rows"]}
        for scale in ("sweep", "norm-matched", "default")
    ]
    rows = []
    for name in MAIN:
        if name not in at[0]:
            continue
        tuned, matched, own = at[0][name], at[1].get(name), at[2].get(name)
        cells = [with_interval(tuned["rho"], tuned["interval"]), chance(tuned["p"])]
        cells += (
            [with_interval(matched["rho"], matched["interval"]), chance(matched["p"])]
            if matched
            else [DASH, DASH]
        )
        rows.append([named(name), *cells, rho(own["rho"]) if own else DASH])
    return table(head, rows)


def _strongest(found: Data) -> Table:
    head: tuple[str, ...] = (
        "predicted",
        "scale",
        "strongest figures, with their intervals",
        "beyond chance",
    )
    rows = []
    for scale, targets in found["full"].items():
        for target, made in targets.items():
            best = [
                f"{named(row['figure'])} {with_interval(row['rho'], row['interval'])}"
                for row in _apart(made["rows"])[:2]
            ]
            beyond = f"{made['beyond chance']} of {made['figures']}"
            rows.append([target, SAID[scale], "; ".join(best), beyond])
    return table(head, rows, words=3)


def _apart(rows: Sequence[Data]) -> list[Data]:
    """The strongest reading of every measure."""
    found: dict[str, Data] = {}
    for row in sorted(rows, key=lambda row: -abs(row["rho"])):
        found.setdefault(row["figure"].split(",")[0], row)
    return list(found.values())


def _choices(found: Data) -> Table:
    head: tuple[str, ...] = (
        "predicted",
        "scale",
        "where chosen",
        "on the other half",
        "10 to 90 %",
        "most chosen",
    )
    rows = []
    for scale, targets in found["full"].items():
        for target, made in targets.items():
            split = made["split"]
            name, share = next(iter(split["chosen"].items()))
            rows.append(
                [
                    target,
                    SAID[scale],
                    f"{split['first']:.2f}",
                    f"{split['second']:.2f}",
                    f"{split['low']:.2f} to {split['high']:.2f}",
                    f"{named(name)} ({share:.0%})",
                ]
            )
    return table(head, rows, words=2)


def _short(made: Data) -> Table:
    rows = [
        [named(row["figure"]), with_interval(row["rho"], row["interval"]), chance(row["p"])]
        for row in _apart(made["rows"])
    ]
    listed = rows[:LISTED]
    listed += [row for row in rows[LISTED:] if row[0] in map(named, MAIN)]
    title = f"{made['merges']} merges, {made['groups']} groups"
    return table((title, "rank correlation", "p, all figures"), listed)


def _beyond_rank(found: Data) -> Table:
    rows = [
        [named(row["figure"]), with_interval(row["rho"], row["interval"])]
        for row in found["beyond rank"]
    ]
    return table(("figure", "rank correlation, the merge's rank held"), rows)


def _tasks(found: Data) -> Table:
    rows = found["tasks"]["rows"]
    shown = {}
    for key in ("within merges", "within tasks"):
        for row in sorted(rows, key=lambda row: -abs(row[key]))[:4]:
            shown[row["figure"]] = row
    head: tuple[str, ...] = ("figure", "over tasks, within a merge", "p, all figures")
    head += ("over merges, within a task", "least and greatest of the tasks", "both means removed")
    return table(
        head,
        [
            [
                named(row["figure"]),
                rho(row["within merges"]),
                chance(row["p"]),
                rho(row["within tasks"]),
                f"{rho(min(row['by task']))} to {rho(max(row['by task']))}",
                with_interval(row["both"][0], row["both"][1:]),
            ]
            for row in shown.values()
        ],
    )


def _subsets(found: Data) -> Table:
    made = found["subsets"]
    if not made:
        return ["Not run: merges of some of the tasks (`--only number` of minibench.py)."]
    head: tuple[str, ...] = (
        f"{made['merges']} merges: {made['methods']} methods, {made['numbers']} numbers of tasks",
    )
    head += ("all together", "within a method", "within a number of tasks")
    return table(
        head,
        [
            [
                named(row["figure"]),
                with_interval(row["rho"], row["interval"]),
                rho(row["within methods"]),
                rho(row["within numbers"]),
            ]
            for row in made["rows"]
        ],
    )


def _size(found: Data) -> Table:
    head: tuple[str, ...] = ("factor from", "its value in tuned merges: median (10 to 90 %)")
    head += ("points below tuned: mean", "median", "worst")
    return table(
        head,
        [
            [
                row["rule"],
                f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
                if "median" in row
                else DASH,
                f"{row['mean']:.1f}",
                f"{row['middle']:.1f}",
                f"{row['worst']:.1f}",
            ]
            for row in found["size"]
        ],
    )


ZONES = ("said to be", "merges", "best factor below 1", "1", "above 1", "in the usual range")
COUNTED = ("merges", "less", "same", "more", "usual")


def _zones(rows: Sequence[Data]) -> Table:
    head = (*ZONES, "gain by tuning, median", "greatest", "merges that gain 4 or more")
    gains = [
        [f"{row['gain']:.1f}", f"{row['greatest']:.1f}", str(row["gain of four"])] for row in rows
    ]
    return table(head, [[*_counted(row), *gain] for row, gain in zip(rows, gains, strict=True)])


def _zones_elsewhere(rows: Sequence[Data] | None) -> Table:
    if rows is None:
        return ["Not looked at in this run; --others names the folder of the other sets."]
    return table(ZONES, [_counted(row) for row in rows])


def _counted(row: Data) -> list[str]:
    return [row["zone"], *(str(row[key]) for key in COUNTED)]
