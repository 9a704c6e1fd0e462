"""Write docs/midibench.md, the second world as a document, from its results.

    python bench/documents/midibench.py ROOT --out OUT     # condense the results, then the document
    python bench/documents/midibench.py                    # the document alone

ROOT is a trained second world (`robustmerge bench midi train`), OUT what `robustmerge bench midi
run` has filled. Both are condensed into bench/results/midibench/results.json, with the geometry of
the experts and of those of bench/artifacts/mini; that takes a minute of one core for each set.
Document and comparison of the worlds are made from that file and the laptop benchmark's results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from analysis_parts.rank_correlation import spearman
from minibench_parts import condense, jobs as plans, raw_results, tables
from minibench_parts.document import each_view, fill
from minibench_parts.tables import WORDS, Data, Table
from robustmerge.errors import MergeError
from robustmerge_bench.midi.geometry import Geometry, as_markdown, measure_geometry
from robustmerge_bench.mini.ranking.gates import GAIN
from robustmerge_bench.mini.runs.results import read_all

HERE = Path(__file__).parent
MINI = HERE.parent / "artifacts" / "mini"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        if options.root:
            raw_results.write(condense_results(options), options.results)
        results, mini = (raw_results.read(path) for path in (options.results, options.minibench))
        text = fill(
            options.template.read_text(encoding="utf-8"),
            slots(results, mini),
            "the template of docs/midibench.md",
        )
        options.document.write_text(text, encoding="utf-8")
    except MergeError as error:
        sys.exit(str(error))


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = options.add_argument
    add("root", type=Path, nargs="?", help="the trained second world")
    add("--out", type=Path, default=Path("bench/midibench"), help="results")
    results, docs = HERE.parent / "results", HERE.parents[1] / "docs"
    add("--minibench", type=Path, default=results / "minibench" / "results.json")
    add("--results", type=Path, default=results / "midibench" / "results.json")
    add("--template", type=Path, default=docs / "midibench.in.md")
    add("--document", type=Path, default=docs / "midibench.md")
    return options


def condense_results(options: argparse.Namespace) -> dict[str, Any]:
    """Condense all results in OUT, which are over one number of items, and measure the experts."""
    sets = plans.sets_in(options.root)
    results = read_all(options.out)
    items = max(r.facts["items"] for r in results)
    sizes = condense.sizes_in(sets, options.root)
    views = condense.condense_views(results, items, sizes, judged="input")
    shown = {view["family"] for view in views}
    geometry = {
        f"midi, {each.family}": measure_geometry(options.root, each.name)
        for each in sets
        if each.family in shown and each.seed == 0
    }
    return {
        "made": {name: version(name) for name in ("robustmerge", "torch", "transformers")},
        "validation": max(r.facts["validation"] for r in results),
        "views": views,
        "geometry": geometry | {"mini, shared": measure_geometry(MINI)},
    }


def slots(results: Data, mini: Data) -> dict[str, Callable[[], Table]]:
    """Return what fills the template's slots, by name."""
    views: list[Data] = results["views"]
    return {
        "setting": lambda: _setting(results),
        "gates": lambda: each_view(views, tables.gates),
        "averages": lambda: each_view(views, averages),
        "learned": lambda: each_view(views, learned),
        "tasks": lambda: each_view(views, partial(tables.per_task, scale="default", only=None)),
        "tuned_tasks": lambda: each_view(views, partial(tables.per_task, scale="sweep", only=None)),
        "beats": lambda: each_view(views, partial(tables.pairwise, scale="sweep", only=None)),
        "worlds": lambda: worlds(views, mini["views"]),
        "geometry": lambda: [as_markdown(_geometry(results["geometry"]))],
    }


def _geometry(stored: Data) -> dict[str, Geometry]:
    """Return the quantiles of every set, which JSON keeps as lists."""
    return {
        name: {label: (low, middle, high) for label, (low, middle, high) in figures.items()}
        for name, figures in stored.items()
    }


def _setting(results: Data) -> Table:
    (items,) = {n for view in results["views"] for n in view["items"].values()}
    made = ", ".join(f"{name} {number}" for name, number in results["made"].items())
    return [f"{items} test items a task, {results['validation']} validation items a task; {made}."]


def averages(view: Data) -> Table:
    """Write seen and unseen averages of all merges at every scale and rank."""
    return tables.overview(
        view, lambda of: f"{tables.spread(of['seen'])} / {tables.number(of['unseen'])}"
    )


def learned(view: Data) -> Table:
    """Write averages over the seen tasks whose experts pass the gate on their gain, input rank."""
    before, after = (view[model]["tasks"] for model in ("zero_shot", "experts"))
    gained = [task for task in view["seen"] if after[task][0] - before[task][0] >= GAIN]
    if len(gained) == len(view["seen"]):
        return []

    def mean(summary: Data) -> str:
        return f"{np.mean([summary['tasks'][task][0] for task in gained]):.1f}"

    return tables.overview(view, mean, ("input",), ", ".join(gained))


def worlds(views: Sequence[Data], mini: Sequence[Data]) -> Table:
    """Write what merges keep of the experts' gain, and unseen averages, in both worlds.

    The last row has Spearman's correlation over these merges; the laptop benchmark's view of a
    family is the one of most merges.
    """
    lines: Table = []
    for view in views:
        own = [each for each in mini if each["family"] == view["family"]]
        other = tables.fullest(own)
        for scale, rank in (("default", "input"), ("sweep", "input"), ("sweep", "full")):
            pairs = _pairs(view, other, scale, rank)
            if len(pairs) > 2:
                title = f"Experts: {view['family']}; {WORDS[scale]}, {rank} rank."
                lines += [title, "", *_compared(pairs), ""]
    return lines


def _pairs(view: Data, other: Data, scale: str, rank: str) -> list[tuple[str, Data, Data]]:
    first, second = (tables.section(each, scale, rank) for each in (other, view))
    names = second["order"] if second else []
    both = ((name, tables.row_of(first, name), tables.row_of(second, name)) for name in names)
    return [(name, a, b) for name, a, b in both if a and b]


def _compared(pairs: Sequence[tuple[str, Data, Data]]) -> Table:
    head = ("", "kept %, mini", "kept %, midi", "unseen, mini", "unseen, midi")
    rows = [
        [name, *(tables.number(each[what]) for what in ("kept", "unseen") for each in (a, b))]
        for name, a, b in pairs
    ]
    ranks = []
    for what in ("kept", "unseen"):
        x, y = (np.array([pair[i][what][0] for pair in pairs]) for i in (1, 2))
        ranks += ["", f"{float(spearman(x, y)):.2f}"]
    return tables.table(head, [*rows, ["rank correlation", *ranks]])


if __name__ == "__main__":
    main()
