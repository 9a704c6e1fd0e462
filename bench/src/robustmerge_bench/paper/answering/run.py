"""Tasks answered into a folder, one line per question, in a run that may be stopped at any time.

Questions are asked in windows whose borders do not depend on where a run began. One that goes on
asks the last window again as a whole, so that the batches are the same as in a run at one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustmerge import __version__
from robustmerge.adapter.reader import BESIDE, NON_LORA, weights_file
from robustmerge.adapter.source import local_folder, locate
from robustmerge.errors import MergeError, reading, writing
from robustmerge.files import sha256

from ..data.predictions import read_predictions
from ..tasks import PaperTask
from . import record
from .engine import Engine, Prompt
from .family import check_tasks, is_clip, is_llava_15, prompt_for, settings_of
from .options import AnsweringOptions
from .questions import TaskPrompts, read

Progress = Callable[[str, int, int], None]
_DEFAULT = AnsweringOptions()


def silent(task: str, done: int, total: int) -> None:
    """Show no progress."""


def answer(
    base: str,
    adapter: str | None,
    tasks: Sequence[PaperTask],
    data: Path,
    out: Path,
    *,
    options: AnsweringOptions = _DEFAULT,
    progress: Progress = silent,
) -> list[Path]:
    """Have a model answer tasks, going on from what is there.

    Args:
        base: The base model, a folder or Hub id.
        adapter: An adapter, a folder or Hub id; None for the base alone.
        tasks: What to answer.
        data: The folder that holds the tasks' files.
        out: Where the answers go: TASK.jsonl for each, and run.json.
        options: How.
        progress: Called with a task's name, its answers so far and its questions.

    Returns:
        The files of answers, in the order of the tasks.

    Raises:
        MergeError: Something the user can mend. What was answered before stays.
    """
    options.check()
    papers = [read(data, task, options) for task in tasks]
    settings = settings_of(base)
    check_tasks(base, settings, papers)
    now = _record(base, adapter, papers, settings, options)
    with record.alone(out):
        whole = record.merged(out, now)
        files = [out / f"{paper.task.name}.jsonl" for paper in papers]
        done = [_done(paper, file) for paper, file in zip(papers, files, strict=True)]
        for paper, count in zip(papers, done, strict=True):
            progress(paper.task.name, count, len(paper.questions))
        if all(count == len(paper.questions) for paper, count in zip(papers, done, strict=True)):
            return files
        engine = open_engine(base, adapter, settings, options)
        record.write(out, {**whole, "facts": dict(engine.facts())})
        name = options.model or name_of(base, adapter)
        for paper, file, count in zip(papers, files, done, strict=True):
            for total in _write(engine, paper, file, count, name):
                progress(paper.task.name, total, len(paper.questions))
    return files


def open_engine(
    base: str, adapter: str | None, settings: Mapping[str, Any], options: AnsweringOptions
) -> Engine:
    """The engine that the options ask for.

    Args:
        base: Folder or Hub id.
        adapter: Folder or Hub id; None for the base alone.
        settings: The base's config.json.
        options: How it is to answer.

    Raises:
        MergeError: It cannot be started.
    """
    if is_clip(settings):
        from .clip.engine import ClipEngine

        return ClipEngine(base, adapter, options)
    if options.engine == "server":
        from .engines.server import ServerEngine

        return ServerEngine(settings=settings, options=options)
    from .engines.live import LocalEngine

    return LocalEngine(
        base,
        adapter,
        settings=settings,
        prompt=_prompt(base, settings, options),
        device=options.device,
        dtype=options.dtype_for(llava_15=is_llava_15(settings)),
        batch=options.batch,
    )


def name_of(base: str, adapter: str | None) -> str:
    """What a model is called in its answers: the last part of its path or id."""
    return Path(adapter or base).name or str(adapter or base)


def _record(
    base: str,
    adapter: str | None,
    papers: Sequence[TaskPrompts],
    settings: Mapping[str, Any],
    options: AnsweringOptions,
) -> dict[str, Any]:
    """What decides the answers; a device or batch does not."""
    live, clip = options.engine == "transformers", is_clip(settings)
    llava_15 = is_llava_15(settings)
    return {
        "format": record.FORMAT,
        "version": __version__,
        "base": str(folder.resolve()) if (folder := local_folder(base)) else base,
        "adapter": adapter and {"source": adapter, "files": _hashes(adapter)},
        "settings": {
            "engine": options.engine,
            "model": options.model,
            "dtype": options.dtype_for(llava_15=llava_15, clip=clip) if live else None,
            "prompt": None if clip else _prompt(base, settings, options),
            "limit": options.limit,
            "max_new_tokens": options.max_new_tokens,
        },
        "questions": {
            paper.task.name: {
                "file": str(paper.path),
                "sha256": paper.sha256,
                "n": len(paper.questions),
            }
            for paper in papers
        },
    }


def _prompt(base: str, settings: Mapping[str, Any], options: AnsweringOptions) -> Prompt:
    if options.engine == "transformers":
        return prompt_for(settings, options.prompt, base)
    if options.prompt == "vicuna":  # no server takes pictures with a prompt that is written out
        raise MergeError(
            "a server puts questions into its own chat template",
            where="--engine server --prompt vicuna",
            hint="start it with --chat-template "
            f"{Path(__file__).parent / 'engines' / 'vicuna_v1.jinja'}, and leave --prompt out",
        )
    return "chat-template"


def _hashes(adapter: str) -> dict[str, str]:
    folder = locate(adapter)
    beside = [folder / name for name in ("adapter_config.json", NON_LORA, BESIDE)]
    files = [weights_file(folder, adapter), *(path for path in beside if path.is_file())]
    return {path.name: sha256(path) for path in files}


def _done(paper: TaskPrompts, path: Path) -> int:
    """How many answers are there; half a line that a killed run left is cut off.

    Raises:
        MergeError: A line is not the answer to its question.
    """
    if not path.exists():
        return 0
    with reading(path):
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
    if not whole:
        return 0
    found = read_predictions(path)
    if len(found) > len(paper.questions):
        raise MergeError(
            f"{len(found)} answers to {len(paper.questions)} questions",
            where=str(path),
            hint="delete the file, and run again",
        )
    for number, (there, one) in enumerate(zip(found, paper.questions, strict=False)):
        if there.id != one.id or there.prompt != paper.prompts[number]:
            raise MergeError(
                f"not the answer to question {one.id!r}, but to {there.id!r}",
                where=f"{there.where}\n{one.where}",
                hint="the file was changed by hand; delete it, and run again",
            )
    return len(found)


def _write(engine: Engine, paper: TaskPrompts, path: Path, done: int, name: str) -> Iterator[int]:
    """Answer what is left, and say how many are answered after every window."""
    total = len(paper.questions)
    for start in range(done - done % engine.window, total, engine.window):
        asked = paper.questions[start : start + engine.window]
        if start + len(asked) <= done:
            continue
        lines = [paper.line(n, text, name) for n, text in enumerate(engine.answer(asked), start)]
        with writing(path, hint=record.KEPT), path.open("a", encoding="utf-8") as file:
            file.writelines(lines[max(0, done - start) :])
        yield start + len(asked)
