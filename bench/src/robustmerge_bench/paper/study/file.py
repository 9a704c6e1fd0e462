"""The study file: contenders, tasks and protocols.

    title: MM-MergeBench
    base: llava-hf/llava-1.5-7b-hf
    data: datasets                          # the folder that holds all tasks
    adapters: {scienceqa: adapters/scienceqa, vqav2: owner/name}
    merging: {layout: hf, rank: input}      # settings of all merges, as in a recipe
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
      - source: authors and table
        columns: [scienceqa, vqav2, seen]
        rows: {TA: [71.94, 67.06, 53.93]}

Paths start from the file's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from robustmerge.engine.values import check_keys, check_table, read_plain
from robustmerge.engine.yaml_file import read_yaml, relative_to
from robustmerge.errors import MergeError, few, shown, unknown, within

from ..score import Protocol
from ..tasks import TASKS, PaperTask, chosen
from .contenders import RECIPE, StudyContender, read_contenders
from .published import PublishedRow, read_published

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
_TEXTS = ("title", "note", "base", "data")
_KEYS = {
    *(*_TEXTS, "adapters", "merging", "methods", "tasks", "protocols", "answering", "published")
}
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Study:
    """A comparison of merges on the paper's tasks.

    Attributes:
        base: The model that all adapters are for: a folder, a Hub id, or a server's name for it.
        data: The folder that holds all tasks; None where none is named.
        adapters: Folder or Hub id of every task's expert.
        contenders: The contenders, in the order of the tables.
        answering: Options of the models' answers, by name.
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
        """Read a YAML file; `data` and `base` replace those in it."""
        content = {k: v for k, v in read_yaml(file, "study").items() if v is not None}
        content |= {"data": str(data.absolute())} if data else {}
        content |= {"base": base} if base else {}
        with within(str(file)):
            check_keys("study", content, _KEYS)
            for name in _TEXTS:
                read_plain(name, content.get(name, ""), str)
            if "base" not in content:
                raise MergeError("the study names no base model", hint="base: owner/name")
            common = check_table("merging", content.get("merging") or {})
            check_keys("recipe", common, RECIPE)
            answering = check_table("answering", content.get("answering") or {})
            tasks = _read_tasks(content.get("tasks", "seen,unseen"))
            protocols = _read_protocols(content.get("protocols", list(PROTOCOLS)))
        adapters = _read_adapters(content.get("adapters") or {}, file)
        return cls(
            file=file,
            title=content.get("title", file.stem),
            base=relative_to(file, content["base"]),
            data=file.parent / content["data"] if "data" in content else None,
            adapters=adapters,
            contenders=read_contenders(content.get("methods"), adapters, common, file),
            tasks=tasks,
            protocols=protocols,
            answering=MappingProxyType(dict(answering)),
            published=read_published(content.get("published", []), where=str(file)),
            note=content.get("note", "").strip(),
        )

    def select(
        self, names: Sequence[str]
    ) -> tuple[tuple[StudyContender, ...], tuple[PaperTask, ...]]:
        """Return the contenders and tasks of these labels, tasks and groups of tasks.

        Where no contender is named, all are returned, and likewise for tasks.
        """
        labels = {each.label for each in self.contenders}
        tasks = {each.name for each in self.tasks} | {each.group for each in self.tasks}
        for name in names:
            if name not in labels | tasks:
                raise unknown("label or task", name, labels | tasks, where=f"--only {few(names)}")
        contenders = tuple(each for each in self.contenders if each.label in names)
        some_tasks = tuple(each for each in self.tasks if {each.name, each.group} & {*names})
        return contenders or self.contenders, some_tasks or self.tasks


def _read_adapters(table: object, file: Path) -> dict[str, str]:
    adapters = check_table("adapters", table, str(file))
    for name, source in adapters.items():
        if name not in TASKS:
            raise unknown("task", name, TASKS, where=f"{file}, adapters")
        if not isinstance(source, str):
            raise MergeError(
                f"{shown(source)} is not an adapter",
                where=f"{file}, adapters, {name}",
                hint=f"{name}: a folder, or a Hub id owner/name",
            )
    return {name: relative_to(file, source) for name, source in adapters.items()}


def _read_tasks(value: object) -> tuple[PaperTask, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise MergeError(
            f"tasks = {shown(value)} is not a list of tasks",
            hint="tasks: seen,unseen or a list such as [vqav2, rec]",
        )
    return chosen(",".join(names))


def _read_protocols(value: object) -> tuple[Protocol, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise MergeError(
            f"protocols = {shown(value)} is not a list",
            hint=f"protocols: [{', '.join(PROTOCOLS)}], or one of them",
        )
    for name in names:
        if name not in PROTOCOLS:
            raise unknown("protocol", str(name), PROTOCOLS)
    return tuple(dict.fromkeys(names))
