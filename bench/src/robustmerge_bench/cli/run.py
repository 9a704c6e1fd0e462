"""`robustmerge bench run`: a model answers the paper's tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
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

if TYPE_CHECKING:
    from ..paper.answering.options import AnsweringOptions
    from ..paper.answering.run import Progress
    from ..paper.tasks import PaperTask


def run(
    *,
    base: str,
    tasks: str,
    data: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    adapter: str | None = None,
    engine: Literal["transformers", "server"] = "transformers",
    url: str | None = None,
    model: str | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    batch: int = 16,
    workers: int = 16,
    prompt: Literal["auto", "vicuna", "chat-template"] = "auto",
    limit: int | None = None,
    max_new_tokens: int | None = None,
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
        engine: What runs the model: transformers here, or a server that speaks OpenAI's protocol.
        url: The server, such as http://localhost:8000/v1.
        model: What the server calls the base with the adapter.
        device: cpu, cuda, cuda:1, …; cuda where there is one unless given.
        dtype: Type the model runs in. Unless given, float32 on a CPU and for CLIP, float16 for
            LLaVA-1.5, as in the released scripts, and bfloat16 for others.
        batch: Questions at a time, here.
        workers: Questions at a time, on a server.
        prompt: vicuna, word for word as the released scripts; chat-template, the model's own; or
            auto: vicuna for LLaVA-1.5, the template for others.
        limit: Ask the first questions of every task only.
        max_new_tokens: Most tokens of an answer; each task's own unless given.
    """
    from robustmerge.files import expand_user

    from ..paper.answering.options import AnsweringOptions
    from ..paper.answering.run import answer
    from ..paper.tasks import chosen

    options = AnsweringOptions(
        engine=engine,
        url=url,
        model=model,
        device=device or default_device(),
        dtype=dtype,
        batch=batch,
        workers=workers,
        prompt=prompt,
        limit=limit,
        max_new_tokens=max_new_tokens,
    )
    data, output, selected = expand_user(data), expand_user(output), chosen(tasks)
    try:
        with running("running a model", options) as progress:
            files = answer(
                base, adapter, selected, data, output, options=options, progress=progress
            )
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            "interrupted; answers so far are kept, and the same command goes on from there"
        )
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
    """Run models with progress bars; a missing library is named.

    Args:
        what: What runs here, for the error of a missing library.
        options: Of the models' answers.
    """
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
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    rows: dict[str, TaskID] = {}
    with Bars(*columns, console=screen, disable=not screen.is_terminal) as bars:

        def update(task: str, done: int, total: int) -> None:
            if task not in rows:
                rows[task] = bars.add_task(task, total=total)
            bars.update(rows[task], completed=done)
            if not screen.is_terminal:
                screen.print(f"{task}: {done} of {total}", markup=False)

        yield update
