"""Tables of docs/analysis.md, from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from minibench_parts.tables import DASH, WORDS, Table, table, table_of

Data = Mapping[str, Any]

MAIN = (
    "directions.largest.answer, mean, task mean",
    "kept.both, weighted, task mean",
    *(
        f"directions.{part}.{measure}, mean, task mean"
        for measure in ("both_matched", "left", "right", "both")
        for part in ("largest", "rest")
    ),
    "directions.rest.ratio, mean, task mean",
)
LISTED = 6
"""Figures in lists of the strongest."""


def slots(results: Data) -> dict[str, Callable[[], Table]]:
    """Return what fills the template, without findings and the paper's claims."""
    made: dict[str, Callable[[Data], Table]] = {
        "made": _made,
        "related": lambda r: ["; ".join(", ".join(group) for group in r["kin"]) + "."],
        "prediction": _prediction,
        "strongest": _strongest,
        "choices": _choices,
        "beyond_rank": _beyond_rank,
        "input_tuned": lambda r: _short(r["input"]["sweep"]),
        "input_own": lambda r: _short(r["input"]["default"]),
        "spanning": lambda r: _short(r["spanning"]),
        "tasks": _tasks,
        "subsets": _subsets,
        "size": _size,
        "zones": lambda r: _zones(r["zones"]),
        "zones_input": lambda r: _zones(r["zones at input rank"]),
        "zones_elsewhere": lambda r: _zones_of_other_sets(r.get("elsewhere")),
    }
    return {name: partial(make, results) for name, make in made.items()}


def chart_lines(folder: str) -> dict[str, Callable[[], Table]]:
    """Return the lines that show the charts."""
    titles = {
        "prediction": "Seen average of tuned merges against answer, and against similarity; "
        "hollow points do not have full rank",
        "size": "The best factor on a merge against its size",
    }
    return {
        f"picture_{name}": partial(lambda line: [line], f"![{title}]({folder}/{name}.png)")
        for name, title in titles.items()
    }


def named(figure: str) -> str:
    """Name a figure: directions.rest.left, mean, task mean is left, rest."""
    path, pooling, *over = figure.split(", ") if ", " in figure else (figure, "")
    parts = path.split(".")
    what = f"`{parts[-1]}`" + (f" {', '.join(parts[1:-1])}" if len(parts) > 2 else "")
    source = "" if parts[0] in ("directions", path) else f" ({parts[0]})"
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


def _figure(row: Data) -> str:
    return named(row["figure"])


def _rho(row: Data | None) -> str:
    return with_interval(row["rho"], row["interval"]) if row else DASH


def _p(row: Data | None) -> str:
    return chance(row["p"]) if row else DASH


def _made(results: Data) -> Table:
    made = results["made"]
    main = results["full"]["sweep"]["seen"]
    return [
        f"{main['merges']} merges at full rank in {main['groups']} groups of related merges, "
        f"{results['input']['default']['merges']} at input rank; {main['figures']} figures tried. "
        f"Diagnosing {made['merges']} merges took {made['seconds']['diagnosing']} s of one "
        f"busy core; robustmerge {made['robustmerge']}."
    ]


def _prediction(results: Data) -> Table:
    tuned, matched, own = (
        {row["figure"]: row for row in results["full"][scale]["seen"]["rows"]}
        for scale in ("sweep", "norm-matched", "default")
    )
    return table_of(
        [name for name in MAIN if name in tuned],
        ("figure", named),
        ("tuned", lambda name: _rho(tuned[name])),
        ("p, all figures", lambda name: _p(tuned[name])),
        ("norm-matched", lambda name: _rho(matched.get(name))),
        ("p", lambda name: _p(matched.get(name))),
        ("own scale", lambda name: rho(own[name]["rho"]) if name in own else DASH),
    )


Prediction = tuple[str, str, Data]
"""A predicted score, the scale of the merges, and the correlations."""


def _predictions(results: Data) -> list[Prediction]:
    return [
        (target, scale, made)
        for scale, targets in results["full"].items()
        for target, made in targets.items()
    ]


def _strongest(results: Data) -> Table:
    def strongest(made: Data) -> str:
        best = _strongest_readings(made["rows"])[:2]
        return "; ".join(f"{_figure(row)} {_rho(row)}" for row in best)

    return table_of(
        _predictions(results),
        ("predicted", lambda each: each[0]),
        ("scale", lambda each: WORDS[each[1]]),
        ("strongest figures, with their intervals", lambda each: strongest(each[2])),
        ("beyond chance", lambda each: f"{each[2]['beyond chance']} of {each[2]['figures']}"),
        left=3,
    )


def _strongest_readings(rows: Sequence[Data]) -> list[Data]:
    """Select the strongest reading of every measure."""
    by_measure: dict[str, Data] = {}
    for row in sorted(rows, key=lambda row: -abs(row["rho"])):
        by_measure.setdefault(row["figure"].split(",")[0], row)
    return list(by_measure.values())


def _choices(results: Data) -> Table:
    def most(each: Prediction) -> str:
        name, share = next(iter(each[2]["split"]["chosen"].items()))
        return f"{named(name)} ({share:.0%})"

    def split(each: Prediction, *keys: str) -> str:
        return " to ".join(f"{each[2]['split'][key]:.2f}" for key in keys)

    return table_of(
        _predictions(results),
        ("predicted", lambda each: each[0]),
        ("scale", lambda each: WORDS[each[1]]),
        ("where chosen", lambda each: split(each, "first")),
        ("on the other half", lambda each: split(each, "second")),
        ("10 to 90 %", lambda each: split(each, "low", "high")),
        ("most chosen", most),
        left=2,
    )


def _short(made: Data) -> Table:
    rows = _strongest_readings(made["rows"])
    rows = rows[:LISTED] + [r for r in rows[LISTED:] if _figure(r) in map(named, MAIN)]
    title = f"{made['merges']} merges, {made['groups']} groups"
    return table_of(rows, (title, _figure), ("rank correlation", _rho), ("p, all figures", _p))


def _beyond_rank(results: Data) -> Table:
    title = "rank correlation, the merge's rank held"
    return table_of(results["beyond rank"], ("figure", _figure), (title, _rho))


def _tasks(results: Data) -> Table:
    shown: dict[str, Data] = {}
    for key in ("within merges", "within tasks"):
        for row in sorted(results["tasks"]["rows"], key=lambda row: -abs(row[key]))[:4]:
            shown[row["figure"]] = row
    return table_of(
        shown.values(),
        ("figure", _figure),
        ("over tasks, within a merge", lambda r: rho(r["within merges"])),
        ("p, all figures", _p),
        ("over merges, within a task", lambda r: rho(r["within tasks"])),
        (
            "least and greatest of the tasks",
            lambda r: f"{rho(min(r['by task']))} to {rho(max(r['by task']))}",
        ),
        ("both means removed", lambda r: with_interval(r["both"][0], r["both"][1:])),
    )


def _subsets(results: Data) -> Table:
    made = results["subsets"]
    if not made:
        return ["Not run: merges of some of the tasks (`--only number` of minibench.py)."]
    counts = f"{made['merges']} merges: {made['methods']} methods, {made['numbers']}"
    return table_of(
        made["rows"],
        (f"{counts} numbers of tasks", _figure),
        ("all together", _rho),
        ("within a method", lambda row: rho(row["within methods"])),
        ("within a number of tasks", lambda row: rho(row["within numbers"])),
    )


def _size(results: Data) -> Table:
    def middle(row: Data) -> str:
        if "median" not in row:
            return DASH
        return f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"

    return table_of(
        results["size"],
        ("factor from", lambda row: row["rule"]),
        ("its value in tuned merges: median (10 to 90 %)", middle),
        ("points below tuned: mean", lambda row: f"{row['mean']:.1f}"),
        ("median", lambda row: f"{row['middle']:.1f}"),
        ("worst", lambda row: f"{row['worst']:.1f}"),
    )


ZONES = ("diagnosed as", "merges", "best factor below 1", "1", "above 1", "in the usual range")
COUNTS = ("zone", "merges", "less", "same", "more", "usual")


def _zones(rows: Sequence[Data]) -> Table:
    head = (*ZONES, "gain by tuning, median", "greatest", "merges that gain 4 or more")
    gains = ([f"{r['gain']:.1f}", f"{r['greatest']:.1f}", str(r["gain of four"])] for r in rows)
    return table(head, [_counts(row) + gain for row, gain in zip(rows, gains, strict=True)])


def _zones_of_other_sets(rows: Sequence[Data] | None) -> Table:
    if rows is None:
        return ["Not measured in this run; --others names the folder of the other sets."]
    return table(ZONES, map(_counts, rows))


def _counts(row: Data) -> list[str]:
    return [str(row[key]) for key in COUNTS]
