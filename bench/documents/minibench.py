"""The laptop benchmark as a document: docs/minibench.md, with all that it takes.

    python bench/documents/minibench.py ROOT --out OUT    # what is missing, then the document
    python bench/documents/minibench.py ROOT --out OUT --only table6 table7 --jobs 2
    python bench/documents/minibench.py    # the document alone

ROOT is a trained benchmark (`robustmerge bench mini train --root ROOT`), OUT a folder of results,
the same that `robustmerge bench mini run` fills; the results of studies go to OUT/studies. What is
there is not done again. Then everything in OUT is condensed into
bench/results/minibench/results.json, and document and pictures are made from that file.

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
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge_bench.jobs.run import JobProgress
from robustmerge_bench.mini.runs.contender import SCALES, every, parse_all
from robustmerge_bench.mini.runs.examine import evaluate
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.results import Result, read_all
from robustmerge_bench.mini.runs.world import World, built_in

HERE = Path(__file__).parent
STUDIES = ("table6", "table7", "density", "criterion", "number", "rank")
PARTS = ("tables", "matrix", *STUDIES)
RANKS = ("input", "full")


def main(arguments: Sequence[str] | None = None, world: World | None = None) -> None:
    given = parser().parse_args(arguments)
    try:
        if given.root:
            examined = examine(given, world or built_in())
            if examined is None:
                return
            results, failures = examined
            raw_results.write(results, given.results)
        write(given.results, given.template, given.document)
        if given.root and failures:
            raise failures[0]
    except MergeError as error:
        sys.exit(str(error))


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    found.add_argument("root", type=Path, nargs="?", help="the trained benchmark")
    found.add_argument("--out", type=Path, default=Path("bench/minibench"), help="results")
    found.add_argument(
        "--only", nargs="*", choices=PARTS, help="run these parts; none: only condense"
    )
    found.add_argument("--methods", nargs="+", default=[], help="of the tables; all unless given")
    found.add_argument("--sets", nargs="+", help="such as shared-0; all unless given")
    found.add_argument("--study-sets", nargs="+", help="of the studies; the first set unless given")
    found.add_argument("--scales", nargs="+", choices=tuple(SCALES), default=tuple(SCALES))
    found.add_argument("--ranks", nargs="+", choices=RANKS, default=RANKS)
    found.add_argument("--items", type=int, default=500, help="test items a task")
    found.add_argument("--validation", type=int, default=100, help="validation items a seen task")
    found.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    found.add_argument("--dry-run", action="store_true", help="print the estimate alone")
    place = HERE.parent / "results" / "minibench" / "results.json"
    found.add_argument("--results", type=Path, default=place, help="the raw results")
    docs = HERE.parents[1] / "docs"
    found.add_argument("--template", type=Path, default=docs / "minibench.in.md")
    found.add_argument("--document", type=Path, default=docs / "minibench.md")
    return found


def examine(
    given: argparse.Namespace, world: World
) -> tuple[dict[str, Any], list[MergeError]] | None:
    """Run what was asked for, and condense everything that is there; None in a dry run."""
    asked = question(given)
    cases = plans.cases(asked, world)
    parts = planned(given, asked, cases, world)
    todo = {
        name: [job for job in found if not plans.folder_of_result(job, given.out)]
        for name, found in parts.items()
    }
    tell_estimate(todo, parts, given)
    if given.dry_run:
        return None
    failures = [error for name, found in todo.items() for error in run(name, found, given, world)]
    return condensed(given, asked, cases), failures


def question(given: argparse.Namespace) -> plans.DocumentOptions:
    there = plans.sets_in(given.root)
    plain = [each.name for each in there if not each.frozen]
    sets = plans.chosen(given.root, given.sets or plain)
    study_sets = plans.chosen(given.root, given.study_sets or [sets[0].name])
    if len({each.family for each in study_sets}) > 1:
        raise MergeError(
            "studies are of one family of experts",
            where="--study-sets " + " ".join(given.study_sets),
            hint="such as --study-sets shared-0 shared-1",
        )
    return plans.DocumentOptions(
        given.root,
        sets,
        study_sets,
        parse_all(given.methods) if given.methods else every(),
        given.ranks,
        given.scales,
        given.items,
        given.validation,
    )


def planned(
    given: argparse.Namespace,
    asked: plans.DocumentOptions,
    cases: Sequence[plans.StudyCase],
    world: World,
) -> dict[str, list[EvaluationJob]]:
    """The jobs of every part that was asked for, what others are compared with first."""
    only = PARTS if given.only is None else given.only
    found: dict[str, list[EvaluationJob]] = {}
    if "tables" in only:
        found["tables"] = plans.tables(asked, world)
    if "matrix" in only:
        found["matrix"] = plans.matrix(asked, world)
    for name in (name for name in STUDIES if name in only):
        mine = [case for case in cases if case.study.name == name]
        needed = [*(job for case in mine for job in case.references), *(case.job for case in mine)]
        found[name] = plans.unique(needed)
    return found


def tell_estimate(
    todo: Mapping[str, Sequence[EvaluationJob]],
    parts: Mapping[str, Sequence[EvaluationJob]],
    given: argparse.Namespace,
) -> None:
    there = results_in(given.out)
    speed = plans.EvaluationSpeed.measured(there)
    total = 0.0
    for name, found in todo.items():
        seconds = plans.estimate(found, speed, given.jobs)
        total += seconds
        say(f"{name}: {len(found)} of {len(parts[name])} models to examine, {duration(seconds)}")
    said = "as measured here" if there else "guessed"
    say(f"in all {duration(total)} in {given.jobs} processes, less what parts share")
    say(f"({said}: {1e3 * speed.item:.1f} ms an item)")


def duration(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def run(
    name: str, found: Sequence[EvaluationJob], given: argparse.Namespace, world: World
) -> list[MergeError]:
    """Examine the models of a part, those of studies in a folder of their own; say what failed."""
    found = [job for job in found if not plans.folder_of_result(job, given.out)]
    failures = []
    for folder in (given.out, given.out / plans.STUDIES):
        here = [job for job in found if home(job, name, given.out) == folder]
        outcome = evaluate(here, folder, world, workers=given.jobs, progress=tell)
        if outcome.failures:
            failures.append(outcome.error)
    return failures


def home(job: EvaluationJob, part: str, out: Path) -> Path:
    """Where a result goes; what tables compare with belongs to them wherever it comes from."""
    of_tables = part not in STUDIES or (job.kind != "merge" and "-rank" not in job.family)
    return out if of_tables else out / plans.STUDIES


def tell(step: JobProgress) -> None:
    word = f"failed: {step.failure}" if step.failure else f"{step.seconds:.1f} s"
    say(f"[{step.done}/{step.todo}] {step.label}: {word}, {duration(step.left)} left")


def results_in(out: Path) -> list[Result]:
    return read_all(out) if any(out.glob("*.json")) else []


def condensed(
    given: argparse.Namespace, asked: plans.DocumentOptions, cases: Sequence[plans.StudyCase]
) -> dict[str, Any]:
    """Everything that is in OUT."""
    taken = every()
    sizes = condense.sizes_in(plans.sets_in(given.root), given.root)
    return {
        "items": asked.items,
        "validation": asked.validation,
        "methods": [contender.label for contender in taken],
        "parameters": {c.label: methods.get(c.method).configure({}) for c in taken},
        "with_data": [contender.label for contender in taken if contender.statistics],
        "made": {
            "robustmerge": version("robustmerge"),
            "torch": version("torch"),
            "cores": os.cpu_count(),
        },
        "commands": commands(asked),
        "views": condense.condense_views(results_in(given.out), asked.items, sizes),
        "studies": condense.condense_studies(cases, given.out),
    }


def commands(asked: plans.DocumentOptions) -> list[str]:
    """What makes these results again from nothing; folders by their roles."""
    seeds = sorted({each.seed for each in asked.sets})
    inits = {each.init for each in asked.sets}
    init = "both" if len(inits) > 1 else inits.pop()
    init += " --frozen" * any(each.frozen for each in asked.sets)
    return [
        "$ robustmerge bench mini train --root ROOT "
        f"--seeds {','.join(map(str, seeds))} --init {init}",
        f"$ python bench/documents/minibench.py ROOT --out OUT --items {asked.items} "
        f"--validation {asked.validation}",
        "$ robustmerge bench mini table --out OUT     # the tables with every interval",
        "$ python bench/documents/minibench.py             # this document, from the raw results",
    ]


def write(results: Path, template: Path, place: Path) -> None:
    """The document and its pictures, from the raw results alone."""
    found = raw_results.read(results)
    pictures = place.with_suffix("")
    charts.draw(found, pictures)
    text = document(template.read_text(encoding="utf-8"), found, pictures)
    place.write_text(text, encoding="utf-8")
    say(f"{place}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
