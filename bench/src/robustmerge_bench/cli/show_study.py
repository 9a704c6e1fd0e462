"""What `robustmerge bench study` and `bench table` print. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from robustmerge.cli.optional import needing
from robustmerge.cli.rows import LabeledRow, print_rows
from robustmerge.errors import few, unknown, writing
from robustmerge.files import expand_user

from ..jobs.run import JobProgress
from ..paper.answering.engines.quiet import quiet
from ..paper.score import Protocol
from ..paper.study.file import Study
from ..paper.study.plan import ModelWork, StudyPlan, make_plan
from ..paper.study.run import run as run_plan
from ..paper.study.tables.report import StudyReport, as_data, make_report
from ..paper.study.tools import options_of, tools
from ..results.html import report_as_page
from ..results.latex import report_as_latex
from ..results.markdown import report_as_markdown
from .show_run import bars, default_device


def as_json(report: StudyReport) -> str:
    """The report as JSON."""
    return json.dumps(as_data(report), indent=2, ensure_ascii=False) + "\n"


_FORMATS: Mapping[str, Callable[[StudyReport], str]] = {
    "markdown": report_as_markdown,
    "latex": report_as_latex,
    "html": report_as_page,
    "json": as_json,
}
_ENDINGS = {".md": "markdown", ".tex": "latex", ".html": "html", ".json": "json"}


def run(
    file: Path,
    output: Path,
    *,
    data: Path | None,
    base: str | None,
    only: Sequence[str],
    limit: int | None,
    device: str | None,
    dry_run: bool,
) -> int:
    """Do what is to be done, or show it, and return the exit code.

    Raises:
        MergeError: The study is impossible, or something failed.
    """
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    study = Study.load(expand_user(file), data=data and expand_user(data), base=base)
    answering = {"device": default_device(), **study.answering}
    answering |= {"device": device} if device else {}
    options = options_of(answering, limit=limit)
    output = expand_user(output)
    with bars() as progress:
        used = tools(options, output, progress, fetch=not dry_run)
        plan = make_plan(study, output, used, only, whole=not dry_run)
        if dry_run:
            _show(plan)
            return 0
        todo = sum(not plan.work(model).done for model in plan.chosen)
        screen.print(f"{len(plan.chosen)} models, {todo} with something to do")
        server = options.engine == "server"
        try:
            with (
                needing("a study", "robustmerge-bench[server]" if server else "robustmerge-bench"),
                quiet(),
            ):
                outcome = run_plan(plan, tell=lambda step: _tell(screen, step))
        except KeyboardInterrupt:
            screen.print("interrupted; what is done is kept, and the same command goes on there")
            return 130
    screen.print(f"{outcome.done} done, {outcome.skipped} were there")
    if outcome.failures:
        raise outcome.error
    print(f"next: robustmerge bench table {output}")
    return 0


def table(folder: Path, kind: str | None, output: Path | None, protocol: Protocol | None) -> None:
    """Print the tables, or write them.

    Raises:
        MergeError: There is no study, or the format is not known.
    """
    kind = kind or (_format_of(output) if output else "markdown")
    report = make_report(expand_user(folder), [protocol] if protocol else [])
    text = _FORMATS[kind](report)
    if output is None:
        print(text, end="")
        return
    output = expand_user(output)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    print(f"written to {output}")


def _format_of(output: Path) -> str:
    ending = output.suffix.lower()
    if ending not in _ENDINGS:
        raise unknown("ending", ending, _ENDINGS, where=f"--output {output}, without --format")
    return _ENDINGS[ending]


def _tell(screen: Console, step: JobProgress) -> None:
    line = f"{step.label}: {step.what}, {step.seconds:.1f} s"
    if step.failure:
        line = f"{step.label}: not {step.what}: {step.failure}"
    screen.print(line, markup=False, style="red" if step.failure else "")


def _show(plan: StudyPlan) -> None:
    console = Console(highlight=False)
    rows = []
    for model in plan.chosen:
        rows.append(_row(plan.work(model), len(plan.study.protocols)))
    there = {model.contender.label for model in plan.models}
    rows += [
        LabeledRow(label, "fetch its adapters, then all else", mark=("to do", "yellow"))
        for label in (each.label for each in plan.study.contenders)
        if label in plan.labels and label not in there
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
