"""`robustmerge bench run`: a model answers the paper's tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bars,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from robustmerge.cli.optional import needing

from ..paper.answering.options import AnsweringOptions
from .screen import open_screen

if TYPE_CHECKING:
    from ..paper.answering.run import Progress
    from ..paper.tasks import PaperTask


def run(
    *,
    base: str,
    tasks: str,
    data: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    adapter: str | None = None,
    device: str | None = None,
    options: Annotated[AnsweringOptions, Parameter(name="*")] = AnsweringOptions(),  # noqa: B008
) -> int:
    """Have a model answer tasks of the paper's benchmark: greedy, as the released scripts ask.

    OUTPUT gets TASK.jsonl for each task, in the format of the released scripts, and run.json. A run
    that was stopped in whatever way goes on where it was. `robustmerge bench score` scores answers.

    Args:
        base: The base model, a folder or Hub id.
        tasks: Names separated by commas; seen, unseen, all, general and vision are
            groups. The last is for a base that is CLIP.
        data: Folder that holds the tasks' question files and images.
        output: Folder of the answers.
        adapter: The adapter, a folder or Hub id, also in the original LLaVA format; the base alone
            where not given.
        device: cpu, cuda, cuda:1, …; cuda where there is one unless given.
        options: How the model answers.
    """
    from robustmerge.files import expand_user

    from ..paper.answering.run import answer
    from ..paper.tasks import select_tasks

    options = replace(options, device=device or default_device())
    data, output, selected = expand_user(data), expand_user(output), select_tasks(tasks)
    try:
        with running("running a model", options) as progress:
            files = answer(
                base, adapter, selected, data, output, options=options, progress=progress
            )
    except KeyboardInterrupt:
        note = "interrupted; answers so far are kept, and the same command goes on from there"
        open_screen().print(note)
        return 130
    for file in files:
        print(f"{file.read_bytes().count(bytes([10]))} answers in {file}")
    _print_next(selected[0], files[0], data)
    return 0


def default_device() -> str:
    """Return the device that models run on by default."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _print_next(task: PaperTask, file: Path, data: Path) -> None:
    from ..paper.data.find import find

    files = find(data, task)
    print(f"\nnext: robustmerge bench score --task {task.name} --predictions {file} \\")
    print(f"        --questions {files.questions}", end="")
    print(f" --references {files.references}" if files.references else "")


@contextmanager
def running(what: str, options: AnsweringOptions) -> Iterator[Progress]:
    """Run models with progress bars; the error for a missing library names `what` runs here."""
    from ..quiet import quiet

    server = options.engine == "server"
    what, extra = ("a server", "[server]") if server else (what, "")
    with needing(what, f"robustmerge-bench{extra}"), quiet(), bars() as progress:
        yield progress


@contextmanager
def bars() -> Iterator[Progress]:
    """Show a bar for each task on stderr, or lines where that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    screen = open_screen()
    rows: dict[str, TaskID] = {}
    with Bars(*columns, console=screen, disable=not screen.is_terminal) as bars:

        def update(task: str, done: int, total: int) -> None:
            if task not in rows:
                rows[task] = bars.add_task(task, total=total)
            bars.update(rows[task], completed=done)
            if not screen.is_terminal:
                screen.print(f"{task}: {done} of {total}", markup=False)

        yield update
