"""Answer tasks into a folder, one line per question, in a run that may be stopped at any time.

Requests are sent in windows whose borders do not depend on where a run began. A resumed run sends
the last window again as a whole, so that the batches are those of an uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustmerge import __version__
from robustmerge.adapter.source import locate
from robustmerge.adapter.tensor_files import AdapterFiles
from robustmerge.errors import MergeError, reading, writing
from robustmerge.files import sha256

from ..data.predictions import read_predictions
from ..tasks import PaperTask
from . import record
from .engine import Engine, PromptFormat
from .family import check_tasks, is_clip, is_llava_15, prompt_for, settings_of
from .options import AnsweringOptions
from .questions import TaskPrompts, read_prompts

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
    """Have a model answer tasks, and add to the answers in the folder.

    Earlier answers in the folder stay after an error.

    Args:
        base: The base model, a folder or Hub id.
        adapter: An adapter, a folder or Hub id; None for the base alone.
        tasks: The tasks.
        data: The folder that holds the tasks' files.
        out: Folder for the answers: TASK.jsonl for each, and run.json.
        options: How the model answers.
        progress: Called with a task's name, its answers so far and its questions.

    Returns:
        The files of answers, in the order of the tasks.
    """
    options.check()
    prompts = [read_prompts(data, task, options) for task in tasks]
    settings = settings_of(base)
    check_tasks(base, settings, prompts)
    now = _record(base, adapter, prompts, settings, options)
    with record.lock(out):
        whole = record.merge_records(out, now)
        files = [out / f"{task.name}.jsonl" for task in tasks]
        done = [
            _done(task_prompts, file) for task_prompts, file in zip(prompts, files, strict=True)
        ]
        for task_prompts, count in zip(prompts, done, strict=True):
            progress(task_prompts.task.name, count, len(task_prompts.questions))
        if done == [len(task_prompts.questions) for task_prompts in prompts]:
            return files
        engine = open_engine(base, adapter, settings, options)
        record.write(out, {**whole, "facts": dict(engine.facts())})
        name = options.model or name_of(base, adapter)
        for task_prompts, file, count in zip(prompts, files, done, strict=True):
            for total in _write(engine, task_prompts, file, count, name):
                progress(task_prompts.task.name, total, len(task_prompts.questions))
    return files


def open_engine(
    base: str, adapter: str | None, settings: Mapping[str, Any], options: AnsweringOptions
) -> Engine:
    """Start the engine of the options; `settings` are the base's config.json."""
    if is_clip(settings):
        from .clip.engine import ClipEngine

        return ClipEngine(base, adapter, options)
    if options.engine == "server":
        from .engines.server import ServerEngine

        return ServerEngine(base=base, settings=settings, options=options)
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
    """Return a model's name in its answers: the last part of its path or id."""
    return Path(adapter or base).name or str(adapter or base)


def _record(
    base: str,
    adapter: str | None,
    prompts: Sequence[TaskPrompts],
    settings: Mapping[str, Any],
    options: AnsweringOptions,
) -> dict[str, Any]:
    """Return everything that decides the answers, which device and batch do not."""
    live, clip = options.engine == "transformers", is_clip(settings)
    llava_15 = is_llava_15(settings)
    return {
        "format": record.FORMAT,
        "version": __version__,
        "base": record.resolve_base(base),
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
            task_prompts.task.name: {
                "file": str(task_prompts.path),
                "sha256": task_prompts.sha256,
                "n": len(task_prompts.questions),
            }
            for task_prompts in prompts
        },
    }


def _prompt(base: str, settings: Mapping[str, Any], options: AnsweringOptions) -> PromptFormat:
    if options.engine == "transformers":
        return prompt_for(settings, options.prompt, base)
    if options.prompt == "vicuna":  # no server takes images with a prompt that is written out
        raise MergeError(
            "a server puts questions into its own chat template",
            where="--engine server --prompt vicuna",
            hint="start it with --chat-template "
            f"{Path(__file__).parent / 'engines' / 'vicuna_v1.jinja'}, and leave --prompt out",
        )
    return "chat-template"


def _hashes(adapter: str) -> dict[str, str]:
    folder = locate(adapter)
    paths = AdapterFiles.find(folder, adapter)
    files = [*paths.weights, folder / "adapter_config.json", *paths.trained, *paths.beside]
    return {path.name: sha256(path) for path in files}


def _done(prompts: TaskPrompts, path: Path) -> int:
    """Count the answers in a file, and cut off half a line that a killed run left."""
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
    answers = read_predictions(path)
    if len(answers) > len(prompts.questions):
        raise MergeError(
            f"{len(answers)} answers to {len(prompts.questions)} questions",
            where=str(path),
            hint="delete the file, and run again",
        )
    for number, (answer, request) in enumerate(zip(answers, prompts.questions, strict=False)):
        if answer.id != request.id or answer.prompt != prompts.prompts[number]:
            raise MergeError(
                f"not the answer to question {request.id!r}, but to {answer.id!r}",
                where=f"{answer.where}\n{request.where}",
                hint="the file was changed by hand; delete it, and run again",
            )
    return len(answers)


def _write(engine: Engine, prompts: TaskPrompts, path: Path, done: int, name: str) -> Iterator[int]:
    """Answer the remaining questions, and yield the number of answers after every window."""
    total = len(prompts.questions)
    for start in range(done - done % engine.window, total, engine.window):
        requests = prompts.questions[start : start + engine.window]
        if start + len(requests) <= done:
            continue
        answers = engine.answer(requests)
        lines = [prompts.line(n, text, name) for n, text in enumerate(answers, start)]
        with writing(path, hint=record.KEPT), path.open("a", encoding="utf-8") as file:
            file.writelines(lines[max(0, done - start) :])
        yield start + len(requests)
