"""Write docs/minibench.md, the laptop benchmark as a document, and run what it needs.

    python bench/documents/minibench.py ROOT --out OUT    # what is missing, then the document
    python bench/documents/minibench.py ROOT --out OUT --only table6 table7 --jobs 2
    python bench/documents/minibench.py    # the document alone

ROOT is a trained benchmark (`robustmerge bench mini train --root ROOT`), OUT a folder of results,
the same that `robustmerge bench mini run` fills; the results of studies go to OUT/studies. Results
in OUT are not computed again. Then everything in OUT is condensed into
bench/results/minibench/results.json, and document and charts are made from that file.

An answer takes about 2.7 ms of one thread: a model examined on 12 x 500 items 16 s, a sweep as much
again. All methods at four scales and two ranks take about an hour for a set of experts on two
cores, the studies about twenty minutes. An estimate is printed before anything is run; --dry-run
ends there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minibench_parts import charts, condense, jobs as plans, raw_results
from minibench_parts.document import document
from minibench_parts.tables import SCALES
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge_bench.jobs.run import JobProgress
from robustmerge_bench.mini.runs.contender import every, parse_all
from robustmerge_bench.mini.runs.examine import evaluate
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.results import Result, read_all
from robustmerge_bench.mini.runs.world import World, built_in

HERE = Path(__file__).parent
STUDIES = ("table6", "table7", "density", "criterion", "number", "rank")
PARTS = ("tables", "matrix", *STUDIES)
RANKS = ("input", "full")


def main(arguments: Sequence[str] | None = None, world: World | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        if options.root:
            examined = examine(options, world or built_in())
            if examined is None:
                return
            results, failures = examined
            raw_results.write(results, options.results)
        write(options.results, options.template, options.document)
        if options.root and failures:
            raise failures[0]
    except MergeError as error:
        sys.exit(str(error))


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = options.add_argument
    add("root", type=Path, nargs="?", help="the trained benchmark")
    add("--out", type=Path, default=Path("bench/minibench"), help="results")
    add("--only", nargs="*", choices=PARTS, help="run these parts; none: only condense")
    add("--methods", nargs="+", default=[], help="of the tables; all unless given")
    add("--sets", nargs="+", help="such as shared-0; all unless given")
    add("--study-sets", nargs="+", help="of the studies; the first set unless given")
    add("--scales", nargs="+", choices=SCALES, default=SCALES)
    add("--ranks", nargs="+", choices=RANKS, default=RANKS)
    add("--items", type=int, default=500, help="test items a task")
    add("--validation", type=int, default=100, help="validation items a seen task")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    add("--dry-run", action="store_true", help="print the estimate alone")
    results, docs = HERE.parent / "results" / "minibench" / "results.json", HERE.parents[1] / "docs"
    add("--results", type=Path, default=results, help="the raw results")
    add("--template", type=Path, default=docs / "minibench.in.md")
    add("--document", type=Path, default=docs / "minibench.md")
    return options


def examine(
    options: argparse.Namespace, world: World
) -> tuple[dict[str, Any], list[MergeError]] | None:
    """Run the parts of the options, and condense all results; None in a dry run."""
    request = read_request(options)
    cases = plans.cases(request, world)
    parts = plan_parts(options, request, cases, world)
    todo = {
        name: [job for job in jobs if not plans.folder_of_result(job, options.out)]
        for name, jobs in parts.items()
    }
    print_estimate(todo, parts, options)
    if options.dry_run:
        return None
    failures = [error for name, jobs in todo.items() for error in run(name, jobs, options, world)]
    return condense_results(options, request, cases), failures


def read_request(options: argparse.Namespace) -> plans.DocumentRequest:
    plain = [each.name for each in plans.sets_in(options.root) if not each.frozen]
    sets = plans.select_sets(options.root, options.sets or plain)
    study_sets = plans.select_sets(options.root, options.study_sets or [sets[0].name])
    if len({each.family for each in study_sets}) > 1:
        raise MergeError(
            "studies are of one family of experts",
            where="--study-sets " + " ".join(options.study_sets),
            hint="such as --study-sets shared-0 shared-1",
        )
    return plans.DocumentRequest(
        options.root,
        sets,
        study_sets,
        parse_all(options.methods) if options.methods else every(),
        options.ranks,
        options.scales,
        options.items,
        options.validation,
    )


def plan_parts(
    options: argparse.Namespace,
    request: plans.DocumentRequest,
    cases: Sequence[plans.StudyCase],
    world: World,
) -> dict[str, list[EvaluationJob]]:
    """Return the jobs of every part to run, references first."""
    only = PARTS if options.only is None else options.only
    parts: dict[str, list[EvaluationJob]] = {}
    if "tables" in only:
        parts["tables"] = plans.tables(request, world)
    if "matrix" in only:
        parts["matrix"] = plans.matrix(request, world)
    for name in (name for name in STUDIES if name in only):
        own = [case for case in cases if case.study.name == name]
        needed = [*(job for case in own for job in case.references), *(case.job for case in own)]
        parts[name] = plans.unique(needed)
    return parts


def print_estimate(
    todo: Mapping[str, Sequence[EvaluationJob]],
    parts: Mapping[str, Sequence[EvaluationJob]],
    options: argparse.Namespace,
) -> None:
    results = results_in(options.out)
    speed = plans.EvaluationSpeed.measured(results)
    seconds = {name: plans.estimate(jobs, speed, options.jobs) for name, jobs in todo.items()}
    for name, jobs in todo.items():
        counts = f"{len(jobs)} of {len(parts[name])} models to examine"
        say(f"{name}: {counts}, {duration(seconds[name])}")
    total = duration(sum(seconds.values()))
    say(f"in all {total} in {options.jobs} processes, less what parts share")
    say(f"({'as measured here' if results else 'guessed'}: {1e3 * speed.item:.1f} ms an item)")


def duration(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def run(
    part: str, jobs: Sequence[EvaluationJob], options: argparse.Namespace, world: World
) -> list[MergeError]:
    """Examine the models of a part, those of studies in a folder of their own; return failures."""
    jobs = [job for job in jobs if not plans.folder_of_result(job, options.out)]
    failures = []
    for folder in (options.out, options.out / plans.STUDIES):
        own = [job for job in jobs if folder_for(job, part, options.out) == folder]
        outcome = evaluate(own, folder, world, workers=options.jobs, progress=report)
        if outcome.failures:
            failures.append(outcome.error)
    return failures


def folder_for(job: EvaluationJob, part: str, out: Path) -> Path:
    """Return the folder for a result; references of tables go there whatever needs them first."""
    of_tables = part not in STUDIES or (job.kind != "merge" and "-rank" not in job.family)
    return out if of_tables else out / plans.STUDIES


def report(step: JobProgress) -> None:
    word = f"failed: {step.failure}" if step.failure else f"{step.seconds:.1f} s"
    say(f"[{step.done}/{step.todo}] {step.label}: {word}, {duration(step.left)} left")


def results_in(out: Path) -> list[Result]:
    return read_all(out) if any(out.glob("*.json")) else []


def condense_results(
    options: argparse.Namespace, request: plans.DocumentRequest, cases: Sequence[plans.StudyCase]
) -> dict[str, Any]:
    """Condense all results in OUT."""
    contenders = every()
    sizes = condense.sizes_in(plans.sets_in(options.root), options.root)
    return {
        "items": request.items,
        "validation": request.validation,
        "methods": [contender.label for contender in contenders],
        "parameters": {c.label: methods.get(c.method).configure({}) for c in contenders},
        "with_data": [contender.label for contender in contenders if contender.statistics],
        "made": {
            "robustmerge": version("robustmerge"),
            "torch": version("torch"),
            "cores": os.cpu_count(),
        },
        "commands": commands(request),
        "views": condense.condense_views(results_in(options.out), request.items, sizes),
        "studies": condense.condense_studies(cases, options.out),
    }


def commands(request: plans.DocumentRequest) -> list[str]:
    """Return the commands that reproduce these results, with placeholders for folders."""
    seeds = sorted({each.seed for each in request.sets})
    inits = {each.init for each in request.sets}
    init = "both" if len(inits) > 1 else inits.pop()
    init += " --frozen" * any(each.frozen for each in request.sets)
    return [
        "$ robustmerge bench mini train --root ROOT "
        f"--seeds {','.join(map(str, seeds))} --init {init}",
        f"$ python bench/documents/minibench.py ROOT --out OUT --items {request.items} "
        f"--validation {request.validation}",
        "$ robustmerge bench mini table --out OUT     # the tables with every interval",
        "$ python bench/documents/minibench.py             # this document, from the raw results",
    ]


def write(results: Path, template: Path, path: Path) -> None:
    """Write the document and its charts, from the raw results alone."""
    data = raw_results.read(results)
    charts.draw(data, path.with_suffix(""))
    text = document(template.read_text(encoding="utf-8"), data, path.with_suffix(""))
    path.write_text(text, encoding="utf-8")
    say(f"{path}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
