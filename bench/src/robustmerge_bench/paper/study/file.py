"""The study file: what is compared with what, on which tasks, by which rules.

    title: MM-MergeBench
    base: llava-hf/llava-1.5-7b-hf
    data: datasets                          # the folder that holds all tasks
    adapters: {scienceqa: adapters/scienceqa, vqav2: owner/name}
    merging: {layout: hf, rank: input}      # what all merges have in common, as in a recipe
    methods:
      - zero-shot
      - individual
      - {joint: adapters/joint}
      - ties
      - {label: TA, method: task-arithmetic, scale: 0.3}
    tasks: seen,unseen                      # or a list
    protocols: [official, fixed]
    answering: {batch: 8, dtype: float16}   # options of `robustmerge bench run`
    published:
      - source: who printed them, and where
        columns: [scienceqa, vqav2, seen]
        rows: {TA: [71.94, 67.06, 53.93]}

Paths are seen from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from robustmerge.engine.values import check_keys, check_table
from robustmerge.engine.yaml_file import read_yaml, relative_to
from robustmerge.errors import MergeError, few, shown, unknown, within

from ..score import Protocol
from ..tasks import TASKS, PaperTask, chosen
from .contenders import RECIPE, StudyContender, contenders
from .published import PublishedRow, published

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
_KEYS = {
    "title",
    "note",
    "base",
    "data",
    "adapters",
    "merging",
    "methods",
    "tasks",
    "protocols",
    "answering",
    "published",
}
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Study:
    """What is compared with what.

    Attributes:
        file: Where this was read.
        title: What it is called.
        base: The model that all adapters are for: a folder, a Hub id, or a server's name for it.
        data: The folder that holds all tasks; None where none is named.
        adapters: Folder or Hub id of every task's expert.
        contenders: What is compared, in the order of the tables.
        tasks: On which tasks.
        protocols: By which rules.
        answering: Options of the models' answering, by name.
        published: Rows that others printed.
        note: What a reader of the tables should know.
    """

    file: Path
    title: str
    base: str
    data: Path | None
    adapters: Mapping[str, str]
    contenders: tuple[StudyContender, ...]
    tasks: tuple[PaperTask, ...]
    protocols: tuple[Protocol, ...] = PROTOCOLS
    answering: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    published: tuple[PublishedRow, ...] = ()
    note: str = ""

    @classmethod
    def load(cls, file: Path, *, data: Path | None = None, base: str | None = None) -> Study:
        """Read a study file.

        Args:
            file: A YAML file.
            data: The folder of the data, in place of the file's.
            base: The base model, in place of the file's.

        Raises:
            MergeError: It is no study file, or asks for what there is not.
        """
        content = _content(file)
        given = {"data": data and str(data.absolute()), "base": base}
        content |= {name: value for name, value in given.items() if value is not None}
        for name in ("title", "note", "base", "data"):
            _check_text(name, content.get(name), file)
        if "base" not in content:
            raise MergeError(
                "the study names no base model", where=str(file), hint="base: owner/name"
            )
        adapters = _adapters(content.get("adapters") or {}, file)
        common = content.get("merging") or {}
        with within(str(file)):
            check_table("merging", common)
            check_keys("recipe", common, RECIPE)
        printed = content.get("published")
        return cls(
            file=file,
            title=content.get("title", file.stem),
            base=relative_to(file, content["base"]),
            data=file.parent / content["data"] if "data" in content else None,
            adapters=adapters,
            contenders=contenders(content.get("methods"), adapters, common, file),
            tasks=_tasks(content.get("tasks", "seen,unseen"), file),
            protocols=_protocols(content.get("protocols", list(PROTOCOLS)), file),
            answering=_answering(content.get("answering") or {}, file),
            published=() if printed is None else published(printed, where=str(file)),
            note=content.get("note", "").strip(),
        )


def _content(file: Path) -> dict[str, Any]:
    content = read_yaml(file, "study")
    with within(str(file)):
        check_keys("study", content, _KEYS)
    return {name: value for name, value in content.items() if value is not None}


def _adapters(given: object, file: Path) -> dict[str, str]:
    check_table("adapters", given, str(file))
    assert isinstance(given, Mapping)
    for name, source in given.items():
        if name not in TASKS:
            raise unknown("task", name, TASKS, where=f"{file}, adapters")
        if not isinstance(source, str):
            raise MergeError(
                f"{shown(source)} is not an adapter",
                where=f"{file}, adapters, {name}",
                hint=f"{name}: a folder, or a Hub id owner/name",
            )
    return {name: relative_to(file, source) for name, source in given.items()}


def _tasks(given: object, file: Path) -> tuple[PaperTask, ...]:
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise MergeError(
            f"tasks = {shown(given)} is not a list of tasks",
            where=str(file),
            hint="tasks: seen,unseen or a list such as [vqav2, rec]",
        )
    with within(str(file)):
        return chosen(",".join(names))


def _protocols(given: object, file: Path) -> tuple[Protocol, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise MergeError(
            f"protocols = {shown(given)} is not a list",
            where=str(file),
            hint=f"protocols: [{', '.join(PROTOCOLS)}], or one of them",
        )
    for name in names:
        if name not in PROTOCOLS:
            raise unknown("protocol", str(name), PROTOCOLS, where=str(file))
    return tuple(dict.fromkeys(names))


def _answering(given: object, file: Path) -> Mapping[str, Any]:
    check_table("answering", given, str(file))
    assert isinstance(given, Mapping)
    return MappingProxyType(dict(given))


def _check_text(name: str, value: object, file: Path) -> None:
    if value is not None and not isinstance(value, str):
        raise MergeError(
            f"{name} = {shown(value)} is not text", where=str(file), hint=f"{name}: some text"
        )


def narrowed(
    study: Study, only: Sequence[str]
) -> tuple[tuple[StudyContender, ...], tuple[PaperTask, ...]]:
    """The contenders and tasks that `only` names; all of them where it names none of that sort.

    Raises:
        MergeError: A name is neither a label of the study nor one of its tasks or their groups.
    """
    labels = {each.label for each in study.contenders}
    tasks = {each.name for each in study.tasks} | {each.group for each in study.tasks}
    for name in only:
        if name not in labels | tasks:
            raise unknown("label or task", name, labels | tasks, where=f"--only {few(only)}")
    some = [each for each in study.contenders if each.label in only]
    few_tasks = [each for each in study.tasks if {each.name, each.group} & set(only)]
    return tuple(some or study.contenders), tuple(few_tasks or study.tasks)
