"""Which diagnostics go with measured accuracy: docs/analysis.md, with all that it takes.

    python bench/documents/analysis.py --again       # merge, diagnose, correlate; then the document
    python bench/documents/analysis.py --again --others ROOT/experts     # with the other sets
    python bench/documents/analysis.py               # the document alone, from the results

The experts are those of bench/artifacts/mini, the accuracies those of bench/results/minibench.
Every merge that was measured there is made again and diagnosed once, on one thread; what was found
is kept under CACHE and not done again. 57 merges take about 70 s of one core, the statistics
another 75 s. Results go to bench/results/analysis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import robustmerge
from analysis_parts import (
    charts,
    claim_tables,
    findings,
    other_sets,
    paper_claims,
    prediction,
    related_merges,
    scale_rules,
    tables,
)
from analysis_parts.benchmark_scores import Benchmark, Measured
from analysis_parts.diagnosed_merges import Shelf, Taken
from minibench_parts import raw_results
from minibench_parts.document import fill
from robustmerge.errors import MergeError

HERE = Path(__file__).parent
SCALES = ("sweep", "norm-matched", "default")
TARGETS = ("seen", "unseen", "worst")
WHOLE = 0.99
"""From this share of every expert's energy on, a merge is taken to span all of them."""


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    try:
        if given.again:
            results = raw_results.read(given.minibench)
            benchmark = Benchmark(results)
            shelf = Shelf([given.experts / task for task in benchmark.seen], given.cache)
            found = analyzed(benchmark, shelf, given.experts)
            found["elsewhere"] = on_other_sets(results, benchmark, given)
            raw_results.write(found, given.results)
        write(given.results, given.template, given.document)
    except MergeError as error:
        sys.exit(str(error))


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    found.add_argument("--again", action="store_true", help="not from the results that are there")
    found.add_argument("--cache", type=Path, default=Path("bench/analysis"))
    experts = HERE.parent / "artifacts" / "mini" / "experts" / "shared-0"
    found.add_argument("--experts", type=Path, default=experts)
    found.add_argument("--others", type=Path, help="experts/ of bench mini train, for other sets")
    results, docs = HERE.parent / "results", HERE.parents[1] / "docs"
    found.add_argument("--minibench", type=Path, default=results / "minibench" / "results.json")
    found.add_argument("--results", type=Path, default=results / "analysis" / "results.json")
    found.add_argument("--template", type=Path, default=docs / "analysis.in.md")
    found.add_argument("--document", type=Path, default=docs / "analysis.md")
    return found


def analyzed(benchmark: Benchmark, shelf: Shelf, experts: Path) -> dict[str, Any]:
    """Everything that the document says."""
    start = perf_counter()
    adapters = robustmerge.diagnose([str(experts / task) for task in benchmark.seen])
    tuned, own = (benchmark.table(scale, "full") for scale in ("sweep", "default"))
    taken = [taken_apart(each, shelf) for each in tuned]
    groups = related_merges.groups(
        related_merges.cosines([shelf.merged(each.which) for each in tuned])
    )
    narrow = benchmark.at_input_rank("default")
    narrowed = [taken_apart(each, shelf) for each in narrow]
    say("diagnosed; now correlations")
    diagnosing = sum(each.seconds for each in (*taken, *narrowed))
    found = {
        "seen": benchmark.seen,
        "kin": [[tuned[i].which.label for i in group] for group in groups if len(group) > 1],
        "full": {scale: correlated(benchmark, scale, shelf, groups) for scale in SCALES},
        "beyond rank": prediction.beyond_rank(tuned, taken, groups),
        "spanning": spanning(tuned, taken, groups),
        "input": {scale: at_input_rank(benchmark, scale, shelf) for scale in ("sweep", "default")},
        "tasks": prediction.over_tasks(tuned, taken, groups, benchmark),
        "subsets": subsets(benchmark, shelf),
        "size": scale_rules.rules(tuned, taken, groups),
        "zones": scale_rules.zones(tuned, own, taken),
        "zones at input rank": zones_at_input_rank(benchmark, shelf),
        "sizes": scale_rules.points(tuned, taken),
        "adapters": paper_claims.of_adapters(adapters),
        "fates": paper_claims.fates(tuned, taken),
        "fates at input rank": paper_claims.fates(narrow, narrowed),
        "head holds": {"merges": len(taken), **paper_claims.head_holds(taken)},
        "places": paper_claims.places(tuned, taken),
        "places at input rank": paper_claims.places(*methods_alone(narrow, narrowed)),
        "election": paper_claims.election(benchmark),
        "points": prediction.points(tuned, taken),
    }
    seconds = {"diagnosing": diagnosing, "this run": perf_counter() - start}
    made = {"robustmerge": robustmerge.__version__, "merges": len(taken) + len(narrowed)}
    return {
        "made": {**made, "seconds": {k: round(v) for k, v in seconds.items()}},
        **rounded(found),
    }


def taken_apart(each: Measured, shelf: Shelf) -> Taken:
    say(f"{each.which.label}, {each.which.rank} rank, {each.which.count} experts")
    return shelf.taken(each.which)


def correlated(
    benchmark: Benchmark, scale: str, shelf: Shelf, groups: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """All methods at full rank, at one scale; groups of kin do not depend on it."""
    merges = benchmark.table(scale, "full")
    taken = [shelf.taken(each.which) for each in merges]
    return {t: prediction.over_merges(merges, taken, groups, t) for t in TARGETS}


def spanning(
    merges: Sequence[Measured], taken: Sequence[Taken], groups: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Only merges that reach all directions of all experts, where `kept` cannot tell them apart."""
    name = "kept.both, weighted, least task"
    here = [i for i, found in enumerate(taken) if found.flat()[name] >= WHOLE]
    place = {i: n for n, i in enumerate(here)}
    kept = [[place[i] for i in group if i in place] for group in groups]
    return prediction.over_merges(
        [merges[i] for i in here], [taken[i] for i in here], [g for g in kept if g], "seen"
    )


def at_input_rank(benchmark: Benchmark, scale: str, shelf: Shelf) -> dict[str, Any]:
    merges = benchmark.at_input_rank(scale)
    taken = [shelf.taken(each.which) for each in merges]
    groups = related_merges.groups(
        related_merges.cosines([shelf.merged(each.which) for each in merges])
    )
    return prediction.over_merges(merges, taken, groups, "seen")


def zones_at_input_rank(benchmark: Benchmark, shelf: Shelf) -> list[Any]:
    tuned = benchmark.at_input_rank("sweep")
    there = {each.which for each in tuned}
    own = [each for each in benchmark.at_input_rank("default") if each.which in there]
    return scale_rules.zones(tuned, own, [shelf.taken(each.which) for each in tuned])


def on_other_sets(
    results: dict[str, Any], benchmark: Benchmark, given: argparse.Namespace
) -> list[Any] | None:
    """Whether what the diagnosis says of sizes holds on other sets, where these are at hand."""
    if given.others is None:
        return None
    merges = list(other_sets.tuned_elsewhere(results, given.experts.name))
    names = sorted({each.set for each in merges})
    shelves = other_sets.shelves(names, benchmark.seen, given.others, given.cache)
    return other_sets.zones(merges, shelves)


def methods_alone(
    merges: Sequence[Measured], taken: Sequence[Taken]
) -> tuple[list[Measured], list[Taken]]:
    """Without the variants of the studies."""
    pairs = [(m, t) for m, t in zip(merges, taken, strict=True) if ":" not in m.which.label]
    return [m for m, _ in pairs], [t for _, t in pairs]


def subsets(benchmark: Benchmark, shelf: Shelf) -> dict[str, Any] | None:
    """The methods of the study over numbers of tasks, with all of the tasks as well."""
    some = benchmark.subsets("sweep")
    labels = {each.which.label for each in some}
    every = [e for e in benchmark.at_input_rank("sweep") if e.which.label in labels]
    merges = [*some, *every]
    taken = [taken_apart(each, shelf) for each in merges]
    return prediction.over_subsets(merges, taken, benchmark)


def rounded(value: Any) -> Any:
    """Numbers with five digits after the point; undefined ones as None."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, float):  # NumPy's too
        return round(float(value), 5) if value == value else None
    return value


def write(results: Path, template: Path, place: Path) -> None:
    """The document and its pictures, from the results alone."""
    found = raw_results.read(results)
    charts.draw(found, place.with_suffix(""))
    text = told(found, template, place.stem)
    place.write_text(text, encoding="utf-8")
    say(f"{place}")


def told(found: dict[str, Any], template: Path, folder: str) -> str:
    """The document's text."""
    slots = {
        **tables.slots(found),
        **findings.slots(found),
        **claim_tables.slots(found),
        **tables.pictures(folder),
    }
    return fill(template.read_text(encoding="utf-8"), slots, str(template))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
