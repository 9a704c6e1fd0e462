"""`robustmerge bench mini`: the laptop benchmark. Torch is imported inside the verbs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

from cyclopts import App, Parameter
from rich.console import Console

from robustmerge.cli.optional import needing
from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import MergeError, few

from .screen import duration, open_screen, watch_jobs

if TYPE_CHECKING:
    from ..jobs.run import JobProgress
    from ..mini.ranking.gates import Gate
    from ..mini.ranking.summary import FamilySummary

mini = App(
    name="mini",
    help="The laptop benchmark: a tiny vision-language model, its experts, and merges of them.",
)
Flag = Annotated[bool, Parameter(negative="")]
InitOption = Literal["shared", "independent", "both"]
INITS: tuple[Literal["shared", "independent"], ...] = ("shared", "independent")
T = TypeVar("T")


@mini.command
def train(
    *,
    root: Path,
    size: Literal["nano", "mini", "midi"] = "mini",
    seeds: str = "0",
    init: InitOption = "shared",
    frozen: Flag = False,
    rank: int | None = None,
    joint: bool = True,
    workers: int = 2,
    device: str = "cpu",
) -> None:
    """Train a vision-language model, and experts on eight tasks, from nothing.

    The world is drawn as it is needed; nothing is downloaded. A run that was stopped goes on where
    it was, and more sets of experts can be added to a folder at any time.

    Args:
        root: Folder to train in.
        size: nano for tests, mini for a laptop (about an hour on two cores), midi for a GPU.
        seeds: Seeds such as 0,1,2; a set of experts for each, with data and starts of A of its own.
        init: Whether the experts of a set start from the same A, or each from its own.
        frozen: Leave the projector as it is; these are sets of their own.
        rank: Of the experts' LoRA, where it is not the size's own; sets of their own.
        joint: Also train one adapter on all tasks, for each seed; with plain sets only.
        workers: Processes of one thread each.
        device: cpu or cuda.
    """
    with needing("training", "robustmerge-bench"):
        from ..mini.training.train import train as run

    run(
        root,
        size=size,
        seeds=_seeds(seeds),
        inits=_all_of(init, INITS),
        frozen=frozen,
        rank=rank,
        joint=joint,
        workers=workers,
        device=device,
    )


@mini.command
def run(
    *,
    root: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    seeds: str = "0",
    init: InitOption = "shared",
    frozen: Flag = False,
    rank: Literal["input", "full", "both"] = "input",
    scale: Literal["default", "norm-matched", "geometric", "sweep", "all"] = "default",
    items: int = 500,
    validation: int = 100,
    matrix: Flag = False,
    jobs: int | None = None,
) -> int:
    """Examine the base, its experts, and merges of them, on all tasks.

    One file per model is written to OUT. What is there is not done again, so that a run that was
    stopped goes on. `robustmerge bench mini table` shows the results.

    Args:
        root: Folder of the trained benchmark, with base and experts.
        out: Folder of the results.
        methods: What to merge by, separated by commas: names of methods, with parameters as in
            ties:density=0.3,space=delta, and with steps around them as in norms+tsv-m+svc. Every
            method that merges from files unless given, and a control: the sum of updates with
            random directions. relay runs the base on validation items without their answers.
        seeds: Seeds of the experts, such as 0,1,2.
        init: How the experts' A began: shared, independent, or both.
        frozen: The experts whose projector was not trained.
        rank: Rank of the merges: input, full, or both.
        scale: How large the merges are made: default as the method has it; norm-matched and
            geometric by these rules; sweep by the best factor on validation items; or all of these.
        items: Test items per task.
        validation: Validation items per seen task: for sweep, and without their answers for
            methods that need data.
        matrix: Examine every expert on every task.
        jobs: Processes of one thread each; all cores unless given.
    """
    from robustmerge.threads import count_cores

    from ..mini.runs.contender import Protocol, Rank, every, parse_all
    from ..mini.runs.examine import evaluate
    from ..mini.runs.folders import expert_sets
    from ..mini.runs.plan import Comparison, make_jobs
    from ..mini.runs.world import built_in

    screen = open_screen()
    contenders = parse_all(methods) if methods else every()
    if with_data := [each.label for each in contenders if each.statistics]:
        screen.print(
            f"note: {few(with_data)} need data, and are given {validation} validation items of "
            "each seen task without their answers",
            markup=False,
        )
    for name, count in (("--items", items), ("--validation", validation)):
        if count < 1:
            raise MergeError(f"{count} items are none", where=name, hint=f"{name} 1 or more")
    world = built_in()
    sets = expert_sets(root, _all_of(init, INITS), _seeds(seeds), frozen=frozen)
    comparison = Comparison(
        contenders,
        _all_of(rank, get_args(Rank)),
        _all_of(scale, get_args(Protocol)),
        items,
        validation,
        matrix,
    )
    with needing("the benchmark", "robustmerge-bench"):
        todo = make_jobs(root, sets, comparison, world)
        world.ready()
    screen.print(f"{len(todo)} models to examine, on {items} items a task", markup=False)
    count = count_cores() if jobs is None else jobs
    run = partial(evaluate, todo, out, world, workers=count, progress=partial(_show, screen))
    return watch_jobs(run, screen, f"robustmerge bench mini table --out {out}")


@mini.command
def table(*, out: Path, items: int | None = None, json: Flag = False) -> None:
    """Show results as Markdown: averages with intervals, who beats whom, scores of all tasks.

    Args:
        out: Folder of the results.
        items: Only results over so many test items per task.
        json: Print as JSON, with every interval and every pair of merges.
    """
    from ..mini.ranking.table import as_data, as_markdown

    summaries = _summarize(out, items)
    print(_as_json(as_data(summaries)) if json else as_markdown(summaries))


@mini.command
def gates(
    *,
    root: Path,
    out: Path,
    rank: Literal["input", "full"] = "full",
    items: int | None = None,
    json: Flag = False,
) -> int:
    """Check that a trained benchmark is like real models where it matters.

    Every family of experts in the results is judged. Exit code 1 if a gate fails.

    Args:
        root: Folder of the trained benchmark, with base and experts.
        out: Folder of the results.
        rank: Rank of the merges that are compared with each other; at full rank nothing is cut.
        items: Only results over so many test items per task.
        json: Print as JSON.
    """
    from ..mini.ranking.gates import check_gates

    checked = {
        summary.family.name: check_gates(summary, _sizes(root, summary), rank=rank)
        for summary in _summarize(out, items)
    }
    if json:
        print(_as_json({name: list(map(asdict, gates)) for name, gates in checked.items()}))
    else:
        _print_gates(checked)
    return 0 if all(gate.passed for gates in checked.values() for gate in gates) else 1


@mini.command
def pack(
    *,
    root: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    experts: str = "shared-0",
    note: str = "",
    force: Flag = False,
) -> None:
    """Write base, one set of experts and the joint adapter in half precision, with a manifest.

    Args:
        root: Folder of the trained benchmark.
        output: Folder to write. It appears whole or not at all.
        experts: Which set.
        note: What else the manifest should say of how it was made.
        force: Replace an artifact that is already there.
    """
    with needing("packing", "robustmerge-bench"):
        from ..mini.artifact import pack as write

    init, _, rest = experts.partition("-")
    seed = rest.partition("-")[0]
    made_by = {
        "command": f"robustmerge bench mini train --root ROOT --seeds {seed} --init {init}",
        "seed": int(seed) if seed.isdigit() else seed,
    }
    made_by |= {"note": note} if note else {}
    manifest = write(root, output, made_by=made_by, experts=experts, force=force).manifest
    print(f"{output}: {len(manifest['files'])} files, {manifest['bytes']:,} bytes")


def _all_of(option: str, names: Sequence[T]) -> Sequence[T]:
    """Return what an option selects: one name, or every name with `both` or `all`."""
    return [name for name in names if name == option] or names


def _seeds(text: str) -> list[int]:
    """Read seeds from the command line."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise MergeError(
            f"seeds {text!r} are not whole numbers", where="--seeds", hint="such as --seeds 0,1,2"
        ) from None


def _show(screen: Console, step: JobProgress) -> None:
    line = f"[{step.done}/{step.todo}] {step.label}: {step.seconds:.1f} s"
    if step.failure:
        line = f"[{step.done}/{step.todo}] {step.label}: failed: {step.failure}"
    elif step.done < step.todo:
        line += f", about {duration(step.left)} left"
    screen.print(line, markup=False)


def _summarize(out: Path, items: int | None) -> list[FamilySummary]:
    from ..mini.ranking.families import group_results
    from ..mini.ranking.summary import summarize_family
    from ..mini.runs.results import read_all

    return [summarize_family(family) for family in group_results(read_all(out), items)]


def _sizes(root: Path, summary: FamilySummary) -> dict[str, float]:
    """Measure the relative sizes of a family's experts."""
    from ..mini.ranking.gates import relative_sizes
    from ..mini.runs.folders import base_folder, expert_sets

    family = summary.family
    init, _, frozen = family.name.partition("-")
    sets = expert_sets(root, [init], family.seeds, frozen=bool(frozen))
    return relative_sizes(sets, base_folder(root), family.seen)


def _print_gates(checked: Mapping[str, Sequence[Gate]]) -> None:
    console = Console(highlight=False)
    for name, gates in checked.items():
        console.print(f"experts: {name}", style="bold", markup=False)
        print_rows(console, [row for gate in gates for row in _rows(gate)])
        print()


def _rows(gate: Gate) -> Iterator[LabeledRow]:
    mark = ("passed", "green") if gate.passed else ("FAILED", "red")
    yield LabeledRow(gate.name, gate.measured, mark=mark)
    yield LabeledRow("", f"wanted: {gate.wanted}", "dim")


def _as_json(content: object) -> str:
    return json.dumps(content, indent=2)
