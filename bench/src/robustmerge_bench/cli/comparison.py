"""What a benchmark's verbs run, table and gates do, whatever the world."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

from cyclopts import Parameter
from rich.console import Console

from robustmerge.cli.cluster import HERE, ClusterOptions
from robustmerge.cli.optional import needing
from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import MergeError, few

from .screen import duration, open_screen, watch_jobs

if TYPE_CHECKING:
    from ..jobs.run import JobProgress
    from ..mini.ranking.gates import Gate
    from ..mini.ranking.summary import FamilySummary
    from ..mini.runs.contender import Contender
    from ..mini.runs.world import World

Flag = Annotated[bool, Parameter(negative="")]
InitOption = Literal["shared", "independent", "both"]
RankOption = Literal["input", "full", "both"]
ScaleOption = Literal["default", "norm-matched", "geometric", "kept", "metric", "sweep", "all"]
INITS: tuple[Literal["shared", "independent"], ...] = ("shared", "independent")
T = TypeVar("T")


@dataclass(frozen=True)
class RunOptions:
    """The options of `run`, as its help describes them."""

    root: Path
    out: Path
    methods: list[str] | None
    seeds: str
    init: InitOption
    frozen: bool = False
    rank: RankOption = "input"
    scale: ScaleOption = "default"
    items: int = 500
    validation: int = 100
    matrix: bool = False
    jobs: int | None = None
    cluster: ClusterOptions = HERE

    def check(self) -> None:
        """Check the counts.

        Raises:
            MergeError: a count is not positive.
        """
        for name, count in (("--items", self.items), ("--validation", self.validation)):
            if count < 1:
                raise MergeError(f"{count} items are none", where=name, hint=f"{name} 1 or more")


def examine_merges(options: RunOptions, world: World, name: str) -> int:
    """Examine the base, its experts and their merges in a world; `name` is the verb of it."""
    from robustmerge.threads import count_cores

    from ..mini.runs.contender import Protocol, Rank, every, parse_all
    from ..mini.runs.examine import evaluate
    from ..mini.runs.folders import expert_sets
    from ..mini.runs.plan import Comparison, make_jobs

    screen = open_screen()
    contenders = parse_all(options.methods) if options.methods else every()
    _note_data(screen, contenders, options.validation)
    options.check()
    inits, seeds = all_of(options.init, INITS), read_seeds(options.seeds)
    sets = expert_sets(options.root, inits, seeds, frozen=options.frozen)
    comparison = Comparison(
        contenders,
        all_of(options.rank, get_args(Rank)),
        all_of(options.scale, get_args(Protocol)),
        options.items,
        options.validation,
        options.matrix,
    )
    with needing("the benchmark", "robustmerge-bench"):
        todo = make_jobs(options.root, sets, comparison, world)
        world.ready()
    engine = options.cluster.engine()
    screen.print(f"{len(todo)} models to examine, on {options.items} items a task", markup=False)
    count = count_cores() if options.jobs is None else options.jobs
    show = partial(_show, screen)
    run = partial(evaluate, todo, options.out, world, workers=count, engine=engine, progress=show)
    return watch_jobs(run, screen, f"robustmerge bench {name} table --out {options.out}")


def _note_data(screen: Console, contenders: Sequence[Contender], validation: int) -> None:
    if with_data := [each.label for each in contenders if each.statistics]:
        screen.print(
            f"note: {few(with_data)} need data, and are given {validation} validation items of "
            "each seen task without their answers",
            markup=False,
        )


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


def print_gates(
    root: Path,
    out: Path,
    rank: Literal["input", "full"],
    items: int | None,
    *,
    json: bool,
) -> int:
    """Judge every family of experts in the results; return 1 if a gate fails."""
    from ..mini.ranking.gates import check_gates

    checked = {
        summary.family.name: check_gates(summary, _sizes(root, summary), rank=rank)
        for summary in _summarize(out, items)
    }
    return print_checked(checked, json=json)


def print_checked(checked: Mapping[str, Sequence[Gate]], *, json: bool) -> int:
    """Print gates by family; return 1 if one fails."""
    if json:
        print(_as_json({name: list(map(asdict, gates)) for name, gates in checked.items()}))
    else:
        _print_gates(checked)
    return 0 if all(gate.passed for gates in checked.values() for gate in gates) else 1


def all_of(option: str, names: Sequence[T]) -> Sequence[T]:
    """Return what an option selects: one name, or every name with `both` or `all`."""
    return [name for name in names if name == option] or names


def read_seeds(text: str) -> list[int]:
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
    return json_format.dumps(content, indent=2)
