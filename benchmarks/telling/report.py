"""Tables of docs/analysis.md, from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from laptop.tables import DASH, SAID, Table, spread, table

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
    """What fills the template."""
    made: dict[str, Callable[[Data], Table]] = {
        "made": _made,
        "kin": _kin,
        "prediction": _prediction,
        "strongest": _strongest,
        "choices": _choices,
        "spanning": lambda found: _short(found["spanning"]),
        "tasks": _tasks,
        "subsets": _subsets,
        "size": _size,
        "zones": _zones,
        "shapes": _shapes,
        "between": _between,
        "fates": lambda found: _fates(found["fates"]),
        "fates_input": lambda found: _fates(found["fates at input rank"]),
        "head_holds": _head_holds,
        "places": _places,
        "election": _election,
    }
    return {name: partial(make, found) for name, make in made.items()}


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
        f"{main['merges']} merges at full rank in {main['groups']} groups of kin, "
        f"{found['input']['default']['merges']} at input rank; {main['figures']} figures tried. "
        f"Diagnosing {made['merges']} merges took {made['seconds']['diagnosing']} s of one "
        f"busy core; robustmerge {made['robustmerge']}."
    ]


def _kin(found: Data) -> Table:
    return ["; ".join(", ".join(group) for group in found["kin"]) + "."]


def _prediction(found: Data) -> Table:
    head = ("figure", "tuned", "p, all figures", "norm-matched", "p", "own scale")
    at = [
        {row["figure"]: row for row in found["full"][scale]["seen"]["rows"]}
        for scale in ("sweep", "norm-matched", "default")
    ]
    rows = []
    for name in MAIN:
        if name not in at[0]:
            continue
        tuned, matched, own = (where.get(name) for where in at)
        cells = [with_interval(tuned["rho"], tuned["interval"]), chance(tuned["p"])]
        cells += (
            [with_interval(matched["rho"], matched["interval"]), chance(matched["p"])]
            if matched
            else [DASH, DASH]
        )
        rows.append([named(name), *cells, rho(own["rho"]) if own else DASH])
    return table(head, rows)


def _strongest(found: Data) -> Table:
    head = ("predicted", "scale", "strongest figures, with their intervals", "beyond chance")
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
    head = ("predicted", "scale", "where chosen", "on the other half", "10 to 90 %", "most chosen")
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


def _tasks(found: Data) -> Table:
    rows = found["tasks"]["rows"]
    shown = {}
    for key in ("within merges", "within tasks"):
        for row in sorted(rows, key=lambda row: -abs(row[key]))[:4]:
            shown[row["figure"]] = row
    head = ("figure", "over tasks, within a merge", "p, all figures")
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
        return ["Not run: merges of some of the tasks (`--only number` of benchmarks/minibench.py)."]
    head = (f"{made['merges']} merges: {made['methods']} methods, {made['numbers']} numbers of tasks",)
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
    head = ("factor from", "its value in tuned merges: median (10 to 90 %)")
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


def _zones(found: Data) -> Table:
    head = ("said to be", "merges", "best factor below 1", "1", "above 1")
    head += ("gain by tuning, median", "greatest", "merges that gain 4 or more")
    return table(
        head,
        [
            [
                row["zone"],
                *(str(row[key]) for key in ("merges", "less", "same", "more")),
                f"{row['gain']:.1f}",
                f"{row['greatest']:.1f}",
                str(row["gain of four"]),
            ]
            for row in found["zones"]
        ],
    )


def _shapes(found: Data) -> Table:
    about = found["adapters"]
    head = ("", *about["adapters"], "by chance")
    rows = []
    uniform = {"A": "-1.2 uniform", "B": "0 Gaussian", "delta": DASH}
    for matrix, values in about["kurtosis"].items():
        cells = [f"{median:.1f}" for median, _, _ in values]
        rows.append([f"excess kurtosis of {matrix}", *cells, uniform[matrix]])
    said = {"head_to_tail": "head to tail", "first_share": "share of the largest direction"}
    for name, words in said.items():
        digits = 1 if name == "head_to_tail" else 2
        cells = [f"{median:.{digits}f}" for median, _, _ in about["spectra"][name]]
        rows.append([words, *cells, f"{about['chance'][name][0]:.{digits}f}"])
    return table(head, rows)


def _between(found: Data) -> Table:
    about = found["adapters"]
    said = {
        "cosine": ("cosine", "0"),
        "sign_conflict": ("sign conflict", "0.50"),
        "weighted_sign_conflict": ("the same by what can cancel", "0.50"),
    }
    rows = [
        [words, *(f"{x:.2f}" for x in about["pairs"][name]), by_chance]
        for name, (words, by_chance) in said.items()
    ]
    by = f"{about['opposed by chance']:.2f}"
    rows.append(["mass against the elected sign, all eight", "", f"{about['opposed']:.2f}", "", by])
    return table(("two experts", "least", "mean", "greatest", "by chance"), rows)


def _fates(rows: Sequence[Data]) -> Table:
    measures = ("left", "right", "both", "both_matched", "answer")
    head = ("largest / rest", *(f"`{m}`" for m in measures))
    return table(
        head,
        [
            [row["merge"], *(f"{row[f'largest {m}']:.2f} / {row[f'rest {m}']:.2f}" for m in measures)]
            for row in rows
        ],
    )


def _head_holds(found: Data) -> Table:
    made = found["head holds"]
    said = ", ".join(f"`{name}` {n}" for name, n in made.items() if name != "merges")
    return [f"Merges, of {made['merges']}, in which the largest are above the rest: {said}."]


def _places(found: Data) -> Table:
    first, second = found["places at input rank"], found["places"]
    head = ("figure", "input rank", "place", "median", "full rank", "place", "median", "greatest")
    return table(
        head,
        [
            [
                named(name),
                *(
                    cell
                    for at in (first[name], second[name])
                    for cell in (
                        f"{at['value']:.2f}",
                        f"{at['place']} of {at['of']}",
                        f"{at['median']:.2f}",
                    )
                ),
                f"{second[name]['greatest']:.2f} {second[name]['best']}",
            ]
            for name in second
        ],
    )


def _election(found: Data) -> Table:
    head = ("elects signs", "seen", "does not", "seen", "told apart")
    return table(
        head,
        [
            [
                row["elects"],
                spread(row["with"]),
                row["plain"],
                spread(row["without"]),
                "yes" if row["told apart"] else "no",
            ]
            for row in found["election"]
        ],
    )
