"""Which diagnostics go with measured accuracy: docs/analysis.md, with all that it takes.

    python bench/documents/analysis.py --again       # merge, diagnose, correlate; then the document
    python bench/documents/analysis.py --again --others ROOT/experts     # with the other sets
    python bench/documents/analysis.py               # the document alone, from the results

The experts are those of bench/artifacts/mini, the accuracies those of bench/results/minibench.
Every merge that was measured there is made again and diagnosed once, on one thread; diagnoses
are kept under CACHE. 57 merges take about 70 s of one core, the statistics
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
from analysis_parts.benchmark_scores import BenchmarkScores, MeasuredMerge
from analysis_parts.diagnosed_merges import DiagnosedMerge, MergeCache
from minibench_parts import raw_results
from minibench_parts.document import fill
from robustmerge.errors import MergeError

HERE = Path(__file__).parent
SCALES = ("sweep", "norm-matched", "default")
TARGETS = ("seen", "unseen", "worst")
WHOLE = 0.99
"""From this share of every expert's energy on, a merge is taken to span all of them."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        if options.again:
            results = raw_results.read(options.minibench)
            benchmark = BenchmarkScores(results)
            cache = MergeCache([options.experts / task for task in benchmark.seen], options.cache)
            analysis = analyze(benchmark, cache, options.experts)
            analysis["elsewhere"] = on_other_sets(results, benchmark, options)
            raw_results.write(analysis, options.results)
        write(options.results, options.template, options.document)
    except MergeError as error:
        sys.exit(str(error))


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = options.add_argument
    add("--again", action="store_true", help="compute everything again")
    add("--cache", type=Path, default=Path("bench/analysis"))
    experts = HERE.parent / "artifacts" / "mini" / "experts" / "shared-0"
    add("--experts", type=Path, default=experts)
    add("--others", type=Path, help="experts/ of bench mini train, for other sets")
    results, docs = HERE.parent / "results", HERE.parents[1] / "docs"
    add("--minibench", type=Path, default=results / "minibench" / "results.json")
    add("--results", type=Path, default=results / "analysis" / "results.json")
    add("--template", type=Path, default=docs / "analysis.in.md")
    add("--document", type=Path, default=docs / "analysis.md")
    return options


def analyze(benchmark: BenchmarkScores, cache: MergeCache, experts: Path) -> dict[str, Any]:
    """Compute everything that the document shows."""
    start = perf_counter()
    adapters = robustmerge.diagnose([str(experts / task) for task in benchmark.seen])
    tuned, own = (benchmark.table(scale, "full") for scale in ("sweep", "default"))
    diagnosed = [diagnose(each, cache) for each in tuned]
    groups = related_merges.groups(
        related_merges.cosines([cache.merged(each.which) for each in tuned])
    )
    narrow = benchmark.at_input_rank("default")
    narrowed = [diagnose(each, cache) for each in narrow]
    say("diagnosed; now correlations")
    diagnosing = sum(each.seconds for each in (*diagnosed, *narrowed))
    analysis = {
        "seen": benchmark.seen,
        "kin": [[tuned[i].which.label for i in group] for group in groups if len(group) > 1],
        "full": {scale: correlate(benchmark, scale, cache, groups) for scale in SCALES},
        "beyond rank": prediction.beyond_rank(tuned, diagnosed, groups),
        "spanning": correlate_spanning(tuned, diagnosed, groups),
        "input": {scale: at_input_rank(benchmark, scale, cache) for scale in ("sweep", "default")},
        "tasks": prediction.over_tasks(tuned, diagnosed, groups, benchmark),
        "subsets": subsets(benchmark, cache),
        "size": scale_rules.rules(tuned, diagnosed, groups),
        "zones": scale_rules.zones(tuned, own, diagnosed),
        "zones at input rank": zones_at_input_rank(benchmark, cache),
        "sizes": scale_rules.points(tuned, diagnosed),
        "adapters": paper_claims.of_adapters(adapters),
        "fates": paper_claims.directions_kept(tuned, diagnosed),
        "fates at input rank": paper_claims.directions_kept(narrow, narrowed),
        "head holds": {
            "merges": len(diagnosed),
            **paper_claims.count_largest_kept_better(diagnosed),
        },
        "places": paper_claims.places(tuned, diagnosed),
        "places at input rank": paper_claims.places(*without_variants(narrow, narrowed)),
        "election": paper_claims.election(benchmark),
        "points": prediction.points(tuned, diagnosed),
    }
    seconds = {"diagnosing": diagnosing, "this run": perf_counter() - start}
    made = {"robustmerge": robustmerge.__version__, "merges": len(diagnosed) + len(narrowed)}
    return {
        "made": {**made, "seconds": {k: round(v) for k, v in seconds.items()}},
        **round_numbers(analysis),
    }


def diagnose(each: MeasuredMerge, cache: MergeCache) -> DiagnosedMerge:
    say(f"{each.which.label}, {each.which.rank} rank, {each.which.count} experts")
    return cache.diagnosed(each.which)


def correlate(
    benchmark: BenchmarkScores, scale: str, cache: MergeCache, groups: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Correlate all methods at full rank, at one scale; groups of related merges stay the same."""
    merges = benchmark.table(scale, "full")
    diagnosed = [cache.diagnosed(each.which) for each in merges]
    return {t: prediction.over_merges(merges, diagnosed, groups, t) for t in TARGETS}


def correlate_spanning(
    merges: Sequence[MeasuredMerge],
    diagnosed: Sequence[DiagnosedMerge],
    groups: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Correlate only merges that reach all directions of all experts."""
    name = "kept.both, weighted, least task"
    here = [i for i, merge in enumerate(diagnosed) if merge.flat()[name] >= WHOLE]
    position = {i: n for n, i in enumerate(here)}
    kept = [[position[i] for i in group if i in position] for group in groups]
    return prediction.over_merges(
        [merges[i] for i in here], [diagnosed[i] for i in here], [g for g in kept if g], "seen"
    )


def at_input_rank(benchmark: BenchmarkScores, scale: str, cache: MergeCache) -> dict[str, Any]:
    merges = benchmark.at_input_rank(scale)
    diagnosed = [cache.diagnosed(each.which) for each in merges]
    groups = related_merges.groups(
        related_merges.cosines([cache.merged(each.which) for each in merges])
    )
    return prediction.over_merges(merges, diagnosed, groups, "seen")


def zones_at_input_rank(benchmark: BenchmarkScores, cache: MergeCache) -> list[Any]:
    tuned = benchmark.at_input_rank("sweep")
    ids = {each.which for each in tuned}
    own = [each for each in benchmark.at_input_rank("default") if each.which in ids]
    return scale_rules.zones(tuned, own, [cache.diagnosed(each.which) for each in tuned])


def on_other_sets(
    results: dict[str, Any], benchmark: BenchmarkScores, options: argparse.Namespace
) -> list[Any] | None:
    """Check the zones of size on other sets of experts, where these are at hand."""
    if options.others is None:
        return None
    merges = list(other_sets.tuned_merges(results, options.experts.name))
    names = sorted({each.set for each in merges})
    merge_caches = other_sets.merge_caches(names, benchmark.seen, options.others, options.cache)
    return other_sets.zones(merges, merge_caches)


def without_variants(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge]
) -> tuple[list[MeasuredMerge], list[DiagnosedMerge]]:
    """Leave out the variants of the studies."""
    pairs = [(m, t) for m, t in zip(merges, diagnosed, strict=True) if ":" not in m.which.label]
    return [m for m, _ in pairs], [t for _, t in pairs]


def subsets(benchmark: BenchmarkScores, cache: MergeCache) -> dict[str, Any] | None:
    """Correlate the methods of the study over numbers of tasks, all of them included."""
    some = benchmark.subsets("sweep")
    labels = {each.which.label for each in some}
    every = [e for e in benchmark.at_input_rank("sweep") if e.which.label in labels]
    merges = [*some, *every]
    diagnosed = [diagnose(each, cache) for each in merges]
    return prediction.over_subsets(merges, diagnosed, benchmark)


def round_numbers(value: Any) -> Any:
    """Round numbers to five digits after the point; undefined ones become None."""
    if isinstance(value, dict):
        return {k: round_numbers(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [round_numbers(v) for v in value]
    if isinstance(value, float):  # NumPy's too
        return round(float(value), 5) if value == value else None
    return value


def write(results: Path, template: Path, path: Path) -> None:
    """Write the document and its charts, from the results alone."""
    analysis = raw_results.read(results)
    charts.draw(analysis, path.with_suffix(""))
    text = fill_template(analysis, template, path.stem)
    path.write_text(text, encoding="utf-8")
    say(f"{path}")


def fill_template(analysis: dict[str, Any], template: Path, folder: str) -> str:
    """Return the document's text."""
    slots = {
        **tables.slots(analysis),
        **findings.slots(analysis),
        **claim_tables.slots(analysis),
        **tables.chart_lines(folder),
    }
    return fill(template.read_text(encoding="utf-8"), slots, str(template))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
