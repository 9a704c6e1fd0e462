"""What `robustmerge merge` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..engine.merge import merge_recipe
from ..engine.options import DEFAULT_METHOD
from ..engine.plan import MergePlan, make_plan
from ..engine.recipe import Recipe
from ..engine.report import MergeReport

_WHY_DEFAULT = "the default: from files alone, nothing to tune (docs/ours.md)"


def run(
    recipe: Recipe,
    output: Path,
    *,
    device: str,
    workers: int | None,
    work: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Merge, with a progress bar on stderr, and print what was done."""
    with progress_bar(f"merging {len(recipe.adapters)} adapters") as progress:
        report = merge_recipe(
            recipe,
            output,
            device=device,
            workers=workers,
            work=work,
            force=force,
            progress=progress,
        )
    if as_json:
        head = {"output_folder": str(output), "seconds": report.seconds}
        print(json.dumps({**head, **report.record()}, indent=2))
    else:
        _print_report(report)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, and yield the function that moves it."""
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True)
    quiet = not screen.is_terminal  # where there is no screen, it would leave an empty line
    with Progress(*columns, console=screen, transient=True, disable=quiet) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def plan(recipe: Recipe, plugins: Sequence[str], *, as_json: bool) -> None:
    """Check everything that can be checked without reading tensors, and print the plan."""
    planned = make_plan(recipe, plugins=plugins)
    facts = _plan_facts(recipe, planned)
    if as_json:
        print(json.dumps({"recipe": recipe.to_dict(), **facts}, indent=2))
        return
    _print_facts({"dry run": "nothing was read or written", **facts})
    _print_warnings(planned.warnings)


def _plan_facts(recipe: Recipe, planned: MergePlan) -> dict[str, str | int]:
    rank = planned.rank
    return {
        "method": _method(recipe),
        **_stages(recipe),
        "adapters": ", ".join(a.label for a in planned.adapters),
        "modules": len(planned.jobs),
        "rank": str(rank) if rank else f"by energy, {planned.energy:g}",
        "type": planned.dtype,
        "layout": planned.layout,
        "extras": ", ".join(e.name for e in planned.extras.parameters) or "none",
        **({} if recipe.polish is None else {"polish": str(recipe.polish)}),
    }


def _print_report(report: MergeReport) -> None:
    mean, least = report.energy
    ranks = sorted({r for m in report.modules for r in m.ranks})
    facts = {
        "method": _method(report.recipe),
        **_stages(report.recipe, [m.scale for m in report.modules]),
        "modules": str(len(report.modules)),
        "rank": f"{report.rank} (inputs {', '.join(map(str, ranks))})",
        "energy kept": f"{mean:.1%} on average, {least:.1%} at least",
        "time": f"{report.seconds:.1f} s",
        "written to": str(report.output),
    }
    if extras := report.plan.extras.parameters:
        facts["extras"] = f"{len(extras)} fully trained tensors, {report.plan.extras.policy}"
    _print_facts({**facts, **report.facts.lines, **report.polished.lines})
    _print_warnings(report.warnings)
    print(f"\nnext: robustmerge check {report.output} --base BASE_MODEL")
    print(f"      PeftModel.from_pretrained(base_model, {str(report.output)!r})")


def _method(recipe: Recipe) -> str:
    parameters = ", ".join(f"{k}={v}" for k, v in recipe.parameters.items())
    if parameters:
        return f"{recipe.method} ({parameters})"
    return f"{recipe.method}, {_WHY_DEFAULT}" if recipe.method == DEFAULT_METHOD else recipe.method


def _stages(recipe: Recipe, factors: Sequence[float] = ()) -> dict[str, str]:
    """Describe the steps before and after the method, if any, and the factors of a scale rule."""
    scale = f"{recipe.scale} over the {recipe.scale_over}" if isinstance(recipe.scale, str) else ""
    if scale and factors:
        least, most = f"{min(factors):.3g}", f"{max(factors):.3g}"
        scale += f", which is {least}" if least == most else f", which is {least} to {most}"
    stages = {
        "balance": ", ".join(recipe.balance),
        "calibrate": ", ".join(recipe.calibrate),
        "scale": scale,
    }
    return {name: value for name, value in stages.items() if value}


def _print_facts(facts: Mapping[str, str | int]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, Text(str(value)))  # a path may have brackets, which are no markup
    Console(soft_wrap=True, highlight=False).print(table)


def _print_warnings(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        Console(stderr=True, soft_wrap=True).print(f"note: {warning}", markup=False)
