"""`robustmerge bench study` and `bench table`: a study, and its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from robustmerge.cli.cluster import HERE, ClusterOptions
from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import few, unknown
from robustmerge.files import expand_user, write_report

from .run import default_device, running
from .screen import open_screen, watch_jobs

if TYPE_CHECKING:
    from ..jobs.run import JobProgress
    from ..paper.study.plan import ModelWork, StudyPlan
    from ..paper.study.tables.report import StudyReport

_ENDINGS = {".md": "markdown", ".tex": "latex", ".html": "html", ".json": "json"}


def study(
    file: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    data: Path | None = None,
    base: str | None = None,
    only: str | None = None,
    limit: int | None = None,
    device: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    cluster: Annotated[ClusterOptions, Parameter(name="*")] = HERE,
) -> int:
    """Run a study, or go on with one: merge, answer, score.

    What is done is not done again, unless something that decides it has changed: a setting, an
    adapter, the base, the questions. A run that was stopped in whatever way goes on where it was.
    `robustmerge bench table OUTPUT` prints the tables, also of a study that is under way.

    Args:
        file: The study file, such as bench/studies/mm-mergebench.yaml.
        output: Folder of the results.
        data: Folder that holds the tasks' question files and images, unless the file names it.
        base: The base model, in place of the file's.
        only: Labels of contenders and names of tasks to leave it at, separated by commas.
        limit: Ask the first questions of every task only, as a trial.
        device: cpu, cuda, cuda:1, …; cuda where there is one unless given.
        dry_run: Show what is done and what is to do, and do nothing; no plugin is run.
        cluster: Where the models run.
    """
    from ..paper.study.file import Study
    from ..paper.study.plan import make_plan
    from ..paper.study.run import run
    from ..paper.study.tools import StudyTools, read_answering

    screen = open_screen()
    loaded = Study.load(
        expand_user(file), data=data and expand_user(data), base=base, run_plugins=not dry_run
    )
    answering = {"device": default_device(), **loaded.answering}
    options = read_answering(answering | ({"device": device} if device else {}), limit=limit)
    output = expand_user(output)
    labels = [part.strip() for part in only.split(",")] if only else []
    with running("a study", options) as progress:
        tools = StudyTools(options, output, progress, fetch=not dry_run)
        plan = make_plan(loaded, output, tools, labels, whole=not dry_run)
        if dry_run:
            _show(plan)
            return 0
        todo = sum(not plan.work(model).done for model in plan.chosen)
        screen.print(f"{len(plan.chosen)} models, {todo} with something to do")
        show = partial(_print_step, screen)
        work = partial(run, plan, report=show, engine=cluster.engine())
        return watch_jobs(work, screen, f"robustmerge bench table {output}")


def table(
    folder: Path,
    /,
    *,
    format: Literal["markdown", "latex", "json", "html"] | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    protocol: Literal["official", "fixed"] | None = None,
) -> None:
    """Print a study's tables: scores, averages with intervals, who is better than whom.

    Args:
        folder: The folder that `robustmerge bench study` wrote.
        format: markdown, latex, json or html; by the output's ending unless given, else markdown.
        output: File to write to, instead of printing.
        protocol: By which rules only; by all that the study is scored by unless given.
    """
    from ..paper.study.tables.report import make_report

    kind = format or (_format_of(output) if output else "markdown")
    text = _writer(kind)(make_report(expand_user(folder), [protocol] if protocol else []))
    if output is None:
        print(text, end="")
        return
    output = expand_user(output)
    write_report(output, text, _MARKS[kind])
    print(f"written to {output}")


_MARKS = {
    "markdown": "<!-- written by robustmerge -->",
    "latex": "% written by robustmerge",
    "html": '<p class="brand">robustmerge</p>',
    "json": '"asked": {',
}
"""What the tables of a format have and other files have not, so that these stay."""


def _writer(kind: str) -> Callable[[StudyReport], str]:
    """Return the function that writes a report in a format."""
    from ..paper.study.tables.report import as_data
    from ..results.html import report_as_page
    from ..results.latex import report_as_latex
    from ..results.markdown import report_as_markdown

    def as_json(report: StudyReport) -> str:
        return json.dumps(as_data(report), indent=2, ensure_ascii=False) + "\n"

    return {
        "markdown": report_as_markdown,
        "latex": report_as_latex,
        "html": report_as_page,
        "json": as_json,
    }[kind]


def _format_of(output: Path) -> str:
    ending = output.suffix.lower()
    if ending not in _ENDINGS:
        raise unknown("ending", ending, _ENDINGS, where=f"--output {output}, without --format")
    return _ENDINGS[ending]


def _print_step(screen: Console, step: JobProgress) -> None:
    line = f"{step.label}: {step.what}, {step.seconds:.1f} s"
    if step.failure:
        line = f"{step.label}: not {step.what}: {step.failure}"
    screen.print(line, markup=False, style="red" if step.failure else "")


def _show(plan: StudyPlan) -> None:
    console = Console(highlight=False)
    rows = [_row(plan.work(model), len(plan.study.protocols)) for model in plan.chosen]
    present = {model.contender.label for model in plan.models}
    rows += [
        LabeledRow(label, "fetch its adapters, then all else", mark=("to do", "yellow"))
        for label in (each.label for each in plan.study.contenders)
        if label in plan.labels and label not in present
    ]
    print_rows(console, rows)


def _row(work: ModelWork, protocols: int) -> LabeledRow:
    if work.done:
        return LabeledRow(work.model.label, "everything", mark=("done", "green"))
    todo = ["merge"] if work.merge else []
    if work.answer:
        todo.append("answer " + few([task.name for task in work.answer], 12))
    if len(work.score) > protocols * len(work.answer):
        todo.append("score " + few(list(dict.fromkeys(task.name for task, _ in work.score)), 12))
    return LabeledRow(work.model.label, "; ".join(todo), mark=("to do", "yellow"))
