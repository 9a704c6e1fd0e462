"""What `robustmerge bench run` prints. Imports torch, so it is imported late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bars,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from robustmerge.cli.optional import needing
from robustmerge.files import expand_user

from ..paper.answering.engines.quiet import quiet
from ..paper.answering.options import AnsweringOptions
from ..paper.answering.run import Progress, answer
from ..paper.data.find import find
from ..paper.tasks import PaperTask, chosen


def run(
    base: str,
    adapter: str | None,
    tasks: str,
    data: Path,
    output: Path,
    *,
    device: str | None,
    settings: Mapping[str, Any],
) -> int:
    """Answer with a progress bar on stderr, and print what was written."""
    options = AnsweringOptions(**settings, device=device or default_device())
    data, output, asked = expand_user(data), expand_user(output), chosen(tasks)
    server = options.engine == "server"
    try:
        with (
            needing(
                "a server" if server else "running a model",
                "robustmerge-bench[server]" if server else "robustmerge-bench",
            ),
            quiet(),
            bars() as progress,
        ):
            files = answer(base, adapter, asked, data, output, options=options, progress=progress)
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            "interrupted; answers so far are kept, and the same command goes on from there"
        )
        return 130
    _print_files(asked, files, data)
    return 0


def default_device() -> str:
    """Where models run, if nothing is said."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _print_files(tasks: Sequence[PaperTask], files: Sequence[Path], data: Path) -> None:
    for file in files:
        print(f"{file.read_bytes().count(bytes([10]))} answers in {file}")
    task, file = tasks[0], files[0]
    found = find(data, task)
    print(f"\nnext: robustmerge bench score --task {task.name} --predictions {file} \\")
    print(f"        --questions {found.questions}", end="")
    print(f" --references {found.references}" if found.references else "")


@contextmanager
def bars() -> Iterator[Progress]:
    """A bar for each task on stderr, or a line where there is no screen."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    rows: dict[str, TaskID] = {}
    with Bars(*columns, console=screen, disable=not screen.is_terminal) as bars:

        def tell(task: str, done: int, total: int) -> None:
            if task not in rows:
                rows[task] = bars.add_task(task, total=total)
            bars.update(rows[task], completed=done)
            if not screen.is_terminal:
                screen.print(f"{task}: {done} of {total}", markup=False)

        yield tell
