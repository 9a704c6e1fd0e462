"""The tables of findings in docs/analysis.md: a few rows of the full tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from minibench_parts.tables import DASH, Table, table

from .tables import named, rho, with_interval

Data = Mapping[str, Any]

SHOWN = ("directions.largest.answer, mean, task mean", "kept.both, weighted, task mean")
"""The two figures that go with accuracy over all merges."""


def slots(results: Data) -> dict[str, Callable[[], Table]]:
    """Return what fills the template's findings."""
    made: dict[str, Callable[[Data], Table]] = {
        "finding_scale": _scale,
        "finding_rules": _rules,
        "finding_accuracy": _accuracy,
        "finding_choice": _choice,
        "finding_numbers": _numbers,
    }
    return {name: partial(make, results) for name, make in made.items()}


def _scale(results: Data) -> Table:
    """Count the merges that are called too large, or too small, and rightly so."""
    merges = {
        "full rank": results["zones"],
        "input rank": results["zones at input rank"],
        "five other sets of experts": results.get("elsewhere") or [],
    }
    rows = []
    for where, zones in merges.items():
        by_name = {row["zone"]: row for row in zones}
        large, small = by_name.get("too large"), by_name.get("too small")
        if large and small:
            right = (
                f"{large['less']} of {large['merges']}",
                f"{small['more']} of {small['merges']}",
            )
            gains = (f"{row['gain']:.1f}" if "gain" in row else DASH for row in (large, small))
            rows.append([where, *right, *gains])
    head = ("merges", "too large: best at less", "too small: best at more")
    return table((*head, "too large: median gain by tuning", "too small: median gain"), rows)


def _rules(results: Data) -> Table:
    """Show what the best rule for a factor costs, next to norm matching."""
    rows = [
        [row["rule"], f"{row['middle']:.1f}", f"{row['mean']:.1f}", f"{row['worst']:.1f}"]
        for row in results["size"]
        if row["rule"] in ("mean coefficient", "norm-matched", "as published")
    ]
    return table(("factor from", "points below tuned: median", "mean", "worst"), rows)


def _accuracy(results: Data) -> Table:
    """Show how the two figures go with the seen average, in ever narrower comparisons."""
    groups = {
        "all methods, rank not cut, tuned": results["full"]["sweep"]["seen"]["rows"],
        "the same, the merge's rank held": results["beyond rank"],
        "only merges that reach all of every expert, tuned": results["spanning"]["rows"],
        "merges at input rank, tuned": results["input"]["sweep"]["rows"],
        "all methods, rank not cut, own scale": results["full"]["default"]["seen"]["rows"],
    }
    rows = []
    for group, figures in groups.items():
        by_name = {row["figure"]: row for row in figures}
        cells = [by_name.get(name) for name in SHOWN]
        rows.append(
            [group, *(with_interval(c["rho"], c["interval"]) if c else DASH for c in cells)]
        )
    return table(("rank correlation with the seen average", *map(named, SHOWN)), rows)


def _choice(results: Data) -> Table:
    """Show the best of all figures where it was chosen, and on the other half of the methods."""
    merges = {
        "all methods, rank not cut, tuned; seen average": results["full"]["sweep"]["seen"],
        "the same; worst task": results["full"]["sweep"]["worst"],
        "only merges that reach all of every expert; seen average": results["spanning"],
        "merges at input rank, tuned; seen average": results["input"]["sweep"],
    }
    rows = [
        [
            where,
            f"{made['split']['first']:.2f}",
            f"{made['split']['second']:.2f}",
            f"{made['split']['low']:.2f} to {made['split']['high']:.2f}",
        ]
        for where, made in merges.items()
    ]
    return table(("the strongest figure", "where chosen", "on the other half", "10 to 90 %"), rows)


def _numbers(results: Data) -> Table:
    """Show correlations over numbers of tasks: within a method, and between methods."""
    made = results["subsets"]
    if not made:
        return ["Not run: merges of some of the tasks (`--only number` of minibench.py)."]
    rows = [
        [named(row["figure"]), rho(row["within methods"]), rho(row["within numbers"])]
        for row in made["rows"]
        if row["figure"] in SHOWN
    ]
    return table(("figure", "within a method", "within a number of tasks"), rows)
