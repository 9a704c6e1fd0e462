"""Merging, answering and scoring, as a run calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from robustmerge.adapter.source import locate
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError, shown, unknown

from ...metrics import java
from ..answering.options import AnsweringOptions
from ..answering.run import Progress, answer
from ..data.find import find
from ..score import Protocol, Score
from ..scoring import score
from ..tasks import PaperTask
from .limited import LimitedFiles, limited
from .models import Locate

NAME = "{label}"
"""Stands for what a server calls a model: the contender's label."""

_DECIDE = ("engine", "model", "dtype", "prompt", "limit", "max_new_tokens")


Answer = Callable[[str, str | None, Sequence[PaperTask], Path, Path, str], object]
"""From base, adapter, tasks, data, the folder of answers and a name: TASK.jsonl for each task."""


@dataclass(frozen=True)
class StudyTools:
    """What a run needs to have done.

    Attributes:
        locate: From a folder or Hub id to a folder.
        find: The files of a task under the root of all data.
        merge: Merge by a recipe, into a folder.
        answer: Have a base with an adapter, or alone, answer; what is there is not asked again.
        score: Score a task's answers by a protocol.
        complete: Whether a score has all that can be computed now: METEOR takes Java.
        asked: The options that decide what is answered.
    """

    locate: Locate
    find: Callable[[Path, PaperTask], LimitedFiles]
    merge: Callable[[Recipe, Path], object]
    answer: Answer
    score: Callable[[PaperTask, LimitedFiles, Path, Protocol], Score]
    complete: Callable[[PaperTask, Path], bool]
    asked: Mapping[str, Any]


def tools(
    options: AnsweringOptions, out: Path, progress: Progress, *, fetch: bool = True
) -> StudyTools:
    """The tools of a real run.

    Args:
        options: How models are to answer.
        out: The study's folder.
        progress: Called with a task's name, its answers so far and its questions.
        fetch: Download adapters.
    """
    return StudyTools(
        locate=partial(locate, fetch=fetch),
        find=found,
        merge=merge_recipe,
        answer=partial(_answer, options, progress),
        score=partial(_score, options.limit, out / "limited"),
        complete=_complete,
        asked=_asked(options),
    )


def found(root: Path, task: PaperTask) -> LimitedFiles:
    """The files of a task.

    Raises:
        MergeError: There are no questions of it.
    """
    files = find(root, task)
    beside = (files.questions.parent / name for name in task.references)
    return LimitedFiles(
        files.questions, files.references or next((p for p in beside if p.exists()), None)
    )


def options_of(given: Mapping[str, Any], *, limit: int | None) -> AnsweringOptions:
    """Options of answering, by name.

    Args:
        given: What a study file says under `answering`.
        limit: The first questions of every task only, whatever it says.

    Raises:
        MergeError: There is no such option, or its value is impossible.
    """
    known = {item.name: item.type for item in fields(AnsweringOptions)}
    for name, value in given.items():
        if name not in known:
            raise unknown("option of answering", name, known)
        kind = int if "int" in str(known[name]) else str
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            wanted = "a whole number" if kind is int else "text"
            raise MergeError(
                f"answering: {name} = {shown(value)} is not {wanted}", hint=f"mend {name}"
            )
    options = AnsweringOptions(**given)
    options = options if limit is None else replace(options, limit=limit)
    options.check()
    if options.engine == "server" and NAME not in str(options.model):
        raise MergeError(
            "one name for all models of a study",
            where=f"answering: model = {shown(options.model)}",
            hint=f"model: '{NAME}' stands for each model's label, by which the server has to know "
            "it, as in vLLM's --lora-modules TIES=OUT/merged/TIES-…",
        )
    return options


def _asked(options: AnsweringOptions) -> dict[str, Any]:
    """What of the options decides the answers; a half type is the family's choice on a GPU."""
    half = "float32" if options.device.startswith("cpu") else "half"
    found = {name: value for name, value in asdict(options).items() if name in _DECIDE}
    if options.engine == "transformers":
        return {**found, "dtype": options.dtype or half}
    return {**found, "dtype": None}


def _answer(
    options: AnsweringOptions,
    progress: Progress,
    base: str,
    adapter: str | None,
    tasks: Sequence[PaperTask],
    data: Path,
    out: Path,
    name: str,
) -> None:
    model = options.model and options.model.replace(NAME, name)
    options = replace(options, model=model)
    answer(base, adapter, tasks, data, out, options=options, progress=progress)


def _score(
    limit: int | None,
    into: Path,
    task: PaperTask,
    files: LimitedFiles,
    answers: Path,
    protocol: Protocol,
) -> Score:
    if limit is not None:
        files = limited(task, files, limit, into / f"{task.name}-{limit}")
    return score(task, files.questions, answers, protocol=protocol, references=files.references)


def _complete(task: PaperTask, path: Path) -> bool:
    if task.kind != "captions" or java.what_is_missing():
        return True
    return not Score.read(path).missing
