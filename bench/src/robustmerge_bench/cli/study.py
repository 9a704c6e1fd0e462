"""`robustmerge bench study`: merge, answer and score all that a study file names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


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
) -> int:
    """Run a study, or go on with one: merge, answer, score.

    What is done is not done again, unless something that decides it has changed: a setting, an
    adapter, the base, the questions. A run that was stopped in whatever way goes on where it was.
    `robustmerge bench table OUTPUT` prints the tables, also of a study that is under way.

    Args:
        file: The study file, such as bench/studies/mm-mergebench.yaml.
        output: Folder of the results.
        data: Folder that holds the tasks' question files and pictures, unless the file names it.
        base: The base model, in place of the file's.
        only: Labels of contenders and names of tasks to leave it at, separated by commas.
        limit: Ask the first questions of every task only, as a trial.
        device: cpu, cuda, cuda:1, …; cuda where there is one unless given.
        dry_run: Show what is done and what is to do, and do nothing.
    """
    from . import show_study

    return show_study.run(
        file,
        output,
        data=data,
        base=base,
        only=[part.strip() for part in only.split(",")] if only else [],
        limit=limit,
        device=device,
        dry_run=dry_run,
    )
