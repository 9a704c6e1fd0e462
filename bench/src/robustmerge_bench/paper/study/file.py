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
from typing import Any

from robustmerge.engine.values import check_keys, check_table, read_plain
from robustmerge.engine.yaml_file import read_yaml, relative_to
from robustmerge.errors import MergeError, few, shown, within

from ..score import Protocol
from ..tasks import TASKS, PaperTask, select_tasks
from .contenders import RECIPE, StudyContender, read_contenders
from .published import PROTOCOLS, PublishedRow, read_published
from .values import check_known, check_list

_TEXTS = ("title", "note", "base", "data")
_KEYS = {
    *(*_TEXTS, "adapters", "merging", "methods", "tasks", "protocols", "answering", "published")
}


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
    answering: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[PublishedRow, ...] = ()
    note: str = ""

    @classmethod
    def load(
        cls,
        file: Path,
        *,
        data: Path | None = None,
        base: str | None = None,
        run_plugins: bool = True,
    ) -> Study:
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
            contenders = read_contenders(
                content.get("methods"), adapters, common, file, run_plugins=run_plugins
            )
            published = read_published(content.get("published", []))
        return cls(
            file=file,
            title=content.get("title", file.stem),
            base=relative_to(file, content["base"]),
            data=file.parent / content["data"] if "data" in content else None,
            adapters=adapters,
            contenders=contenders,
            tasks=tasks,
            protocols=protocols,
            answering=answering,
            published=published,
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
        check_known("label or task", names, labels | tasks, where=f"--only {few(names)}")
        contenders = tuple(each for each in self.contenders if each.label in names)
        some_tasks = tuple(each for each in self.tasks if {each.name, each.group} & {*names})
        return contenders or self.contenders, some_tasks or self.tasks


def _read_adapters(table: object, file: Path) -> dict[str, str]:
    adapters = check_table("adapters", table)
    check_known("task", adapters, TASKS, where="adapters")
    for name, source in adapters.items():
        if not isinstance(source, str):
            raise MergeError(
                f"{shown(source)} is not an adapter",
                where=f"adapters, {name}",
                hint=f"{name}: a folder, or a Hub id owner/name",
            )
    return {name: relative_to(file, source) for name, source in adapters.items()}


def _read_tasks(value: object) -> tuple[PaperTask, ...]:
    hint = "tasks: seen,unseen or a list such as [vqav2, rec]"
    names = value.split(",") if isinstance(value, str) else value
    return select_tasks(",".join(map(str, check_list("tasks", names, hint, of="tasks"))))


def _read_protocols(value: object) -> tuple[Protocol, ...]:
    hint = f"protocols: [{', '.join(PROTOCOLS)}], or one of them"
    names = check_list("protocols", [value] if isinstance(value, str) else value, hint)
    check_known("protocol", names, PROTOCOLS)
    return tuple(dict.fromkeys(names))
