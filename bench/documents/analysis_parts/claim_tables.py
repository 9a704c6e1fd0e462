"""Tables of docs/analysis.md about the paper's claims, from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from minibench_parts.tables import DASH, Table, spread, table

from .tables import named

Data = Mapping[str, Any]


def slots(found: Data) -> dict[str, Callable[[], Table]]:
    """What fills the template where it is about them."""
    made: dict[str, Callable[[Data], Table]] = {
        "shapes": _shapes,
        "between": _between,
        "directions": lambda found: _fates(found["fates"]),
        "directions_input": lambda found: _fates(found["fates at input rank"]),
        "head_holds": _head_holds,
        "places": _places,
        "election": _election,
    }
    return {name: partial(make, found) for name, make in made.items()}


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
            [
                row["merge"],
                *(f"{row[f'largest {m}']:.2f} / {row[f'rest {m}']:.2f}" for m in measures),
            ]
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
