"""What `robustmerge bench mini` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from robustmerge.cli.optional import needing
from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import MergeError, few
from robustmerge.threads import cores

from ...jobs.run import JobProgress
from ...mini.ranking.families import group_results
from ...mini.ranking.gates import Gate, check_gates, relative_sizes
from ...mini.ranking.summary import FamilySummary, summarize_family
from ...mini.ranking.table import as_data, as_markdown
from ...mini.runs.contender import Contender, every, parse_all
from ...mini.runs.examine import evaluate
from ...mini.runs.folders import base_folder, expert_sets
from ...mini.runs.job import Protocol, Rank
from ...mini.runs.plan import Comparison, make_jobs
from ...mini.runs.results import read_all
from ...mini.runs.world import built_in
from ..duration import duration


def run(
    root: Path,
    out: Path,
    *,
    methods: Sequence[str],
    seeds: str,
    inits: Sequence[str],
    frozen: bool,
    ranks: Sequence[Rank],
    scales: Sequence[Protocol],
    items: int,
    validation: int,
    matrix: bool,
    workers: int | None,
) -> int:
    """Do what is to be done, one line on stderr for every model, and return the exit code.

    Raises:
        MergeError: Something is missing, or a job failed.
    """
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    contenders = _contenders(methods, screen, validation)
    _check_counts(items, validation)
    world = built_in()
    sets = expert_sets(root, inits, parse_seeds(seeds), frozen=frozen)
    study = Comparison(contenders, ranks, scales, items, validation, matrix)
    with needing("the benchmark", "robustmerge-bench"):
        jobs = make_jobs(root, sets, study, world)
        world.ready()
    screen.print(f"{len(jobs)} models to examine, on {items} items a task", markup=False)
    tell = partial(_tell, screen)
    count = cores() if workers is None else workers
    try:
        outcome = evaluate(jobs, out, world, workers=count, progress=tell)
    except KeyboardInterrupt:
        screen.print("interrupted; what is done is kept, and the same command goes on from there")
        return 130
    screen.print(f"{outcome.done} done, {outcome.skipped} were there", markup=False)
    if outcome.failures:
        raise outcome.error
    print(f"next: robustmerge bench mini table --out {out}")
    return 0


def table(out: Path, items: int | None, *, as_json: bool) -> None:
    """Print the tables."""
    summaries = _summarize(out, items)
    if as_json:
        print(json.dumps(as_data(summaries), indent=2))
    else:
        print(as_markdown(summaries))


def gates(root: Path, out: Path, rank: str, items: int | None, *, as_json: bool) -> int:
    """Print the gates of every family, and return the exit code."""
    checked = {
        summary.family.name: check_gates(summary, _sizes(root, summary), rank=rank)
        for summary in _summarize(out, items)
    }
    if as_json:
        plain = {name: list(map(asdict, family)) for name, family in checked.items()}
        print(json.dumps(plain, indent=2))
    else:
        _print_gates(checked)
    return 0 if all(gate.passed for family in checked.values() for gate in family) else 1


def _print_gates(checked: Mapping[str, Sequence[Gate]]) -> None:
    console = Console(highlight=False)
    for name, family in checked.items():
        console.print(f"experts: {name}", style="bold", markup=False)
        print_rows(console, [row for gate in family for row in _rows(gate)])
        print()


def _rows(gate: Gate) -> tuple[LabeledRow, LabeledRow]:
    mark = ("passed", "green") if gate.passed else ("FAILED", "red")
    return LabeledRow(gate.name, gate.measured, mark=mark), LabeledRow(
        "", f"wanted: {gate.wanted}", "dim"
    )


def _summarize(out: Path, items: int | None) -> list[FamilySummary]:
    return [summarize_family(family) for family in group_results(read_all(out), items)]


def _sizes(root: Path, summary: FamilySummary) -> dict[str, float]:
    """Measure the relative sizes of a family's experts."""
    family = summary.family
    init, _, frozen = family.name.partition("-")
    sets = expert_sets(root, [init], family.seeds, frozen=bool(frozen))
    return relative_sizes(sets, base_folder(root), family.seen)


def _contenders(methods: Sequence[str], screen: Console, validation: int) -> tuple[Contender, ...]:
    taken = parse_all(methods) if methods else every()
    if knowing := [each.label for each in taken if each.statistics]:
        screen.print(
            f"note: {few(knowing)} need data, and are given {validation} validation items of each "
            "seen task without their answers",
            markup=False,
        )
    return taken


def _tell(screen: Console, step: JobProgress) -> None:
    line = f"[{step.done}/{step.todo}] {step.label}: {step.seconds:.1f} s"
    if step.failure:
        line = f"[{step.done}/{step.todo}] {step.label}: failed: {step.failure}"
    elif step.done < step.todo:
        line += f", about {duration(step.left)} left"
    screen.print(line, markup=False)


def parse_seeds(seeds: str) -> list[int]:
    """Seeds from the command line.

    Raises:
        MergeError: They are not numbers.
    """
    try:
        return list(dict.fromkeys(int(part) for part in seeds.split(",")))
    except ValueError:
        raise MergeError(
            f"seeds {seeds!r} are not whole numbers", where="--seeds", hint="such as --seeds 0,1,2"
        ) from None


def _check_counts(items: int, validation: int) -> None:
    for name, count in (("--items", items), ("--validation", validation)):
        if count < 1:
            raise MergeError(f"{count} items are none", where=name, hint=f"{name} 1 or more")
