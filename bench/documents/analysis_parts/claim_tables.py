"""Tables of docs/analysis.md about the paper's claims, from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from minibench_parts.tables import DASH, Table, spread, table, table_of

from .tables import named

Data = Mapping[str, Any]


def slots(results: Data) -> dict[str, Callable[[], Table]]:
    """Return what fills the template where it is about the paper's claims."""
    made: dict[str, Callable[[Data], Table]] = {
        "shapes": _shapes,
        "between": _between,
        "directions": lambda r: _directions(r["fates"]),
        "directions_input": lambda r: _directions(r["fates at input rank"]),
        "head_holds": _head_holds,
        "places": _places,
        "election": _election,
    }
    return {name: partial(make, results) for name, make in made.items()}


def _shapes(results: Data) -> Table:
    about = results["adapters"]
    uniform = {"A": "-1.2 uniform", "B": "0 Gaussian", "delta": DASH}
    rows = [
        [f"excess kurtosis of {name}", *(f"{median:.1f}" for median, _, _ in values), uniform[name]]
        for name, values in about["kurtosis"].items()
    ]
    spectra = {
        "head_to_tail": ("head to tail", 1),
        "first_share": ("share of the largest direction", 2),
    }
    for name, (words, digits) in spectra.items():
        values = [median for median, _, _ in about["spectra"][name]]
        cells = (f"{v:.{digits}f}" for v in (*values, about["chance"][name][0]))
        rows.append([words, *cells])
    return table(("", *about["adapters"], "by chance"), rows)


def _between(results: Data) -> Table:
    about = results["adapters"]
    measures = {
        "cosine": ("cosine", "0"),
        "sign_conflict": ("sign conflict", "0.50"),
        "weighted_sign_conflict": ("the same by what can cancel", "0.50"),
    }
    rows = [
        [words, *(f"{x:.2f}" for x in about["pairs"][name]), by_chance]
        for name, (words, by_chance) in measures.items()
    ]
    opposed, by = (f"{about[key]:.2f}" for key in ("opposed", "opposed by chance"))
    rows.append(["mass against the elected sign, all eight", "", opposed, "", by])
    return table(("two experts", "least", "mean", "greatest", "by chance"), rows)


def _directions(rows: Sequence[Data]) -> Table:
    def both(measure: str, row: Data) -> str:
        return f"{row[f'largest {measure}']:.2f} / {row[f'rest {measure}']:.2f}"

    measures = ("left", "right", "both", "both_matched", "answer")
    columns = [(f"`{measure}`", partial(both, measure)) for measure in measures]
    return table_of(rows, ("largest / rest", lambda row: row["merge"]), *columns)


def _head_holds(results: Data) -> Table:
    counts = results["head holds"]
    shown = ", ".join(f"`{name}` {n}" for name, n in counts.items() if name != "merges")
    return [f"Merges, of {counts['merges']}, in which the largest are above the rest: {shown}."]


def _places(results: Data) -> Table:
    first, second = results["places at input rank"], results["places"]

    def cells(at: Data) -> list[str]:
        return [f"{at['value']:.2f}", f"{at['place']} of {at['of']}", f"{at['median']:.2f}"]

    head = ("figure", "input rank", "place", "median", "full rank", "place", "median", "greatest")
    rows = (
        [named(name), *cells(first[name]), *cells(at), f"{at['greatest']:.2f} {at['best']}"]
        for name, at in second.items()
    )
    return table(head, rows)


def _election(results: Data) -> Table:
    return table_of(
        results["election"],
        ("elects signs", lambda row: row["elects"]),
        ("seen", lambda row: spread(row["with"])),
        ("does not", lambda row: row["plain"]),
        ("seen", lambda row: spread(row["without"])),
        ("significant", lambda row: "yes" if row["told apart"] else "no"),
    )
