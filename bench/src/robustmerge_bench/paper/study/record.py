"""study.json: what a study has found so far, for whoever makes tables of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from robustmerge import __version__
from robustmerge.errors import MergeError, reading
from robustmerge.files import write_json

from ..score import Protocol
from ..tasks import TASKS, PaperTask
from .contenders import Kind
from .published import PublishedRow

FILE = "study.json"
FORMAT = 1
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class ListedContender:
    """A contender of a table.

    Attributes:
        label: What it is called.
        kind: The base, the experts, an adapter as it is, or a merge.
        tasks: Tasks that it can have a score of: the experts have none of unseen tasks.
        how: The merge's settings, or the adapter's name.
    """

    label: str
    kind: Kind
    tasks: tuple[str, ...]
    how: Mapping[str, Any] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True)
class StudyRecord:
    """What there is.

    Attributes:
        title: Of the study.
        note: What a reader should know.
        base: The model.
        asked: Options that decided what was answered.
        tasks: The tasks, in the order of the tables.
        protocols: Rules that it is scored by.
        contenders: What is compared.
        published: Rows that others printed.
        scores: Files of scores from the study's folder, by label, task and protocol.
        failures: What went wrong, by label and task ('' where it was no one task).
    """

    title: str
    note: str
    base: str
    asked: Mapping[str, Any]
    tasks: tuple[PaperTask, ...]
    protocols: tuple[Protocol, ...]
    contenders: tuple[ListedContender, ...]
    published: tuple[PublishedRow, ...]
    scores: Mapping[str, Mapping[str, Mapping[str, str]]]
    failures: Mapping[str, Mapping[str, str]]

    def write(self, out: Path) -> None:
        """Write it into the study's folder."""
        content = {
            "format": FORMAT,
            "robustmerge": __version__,
            **_plain(self),
            "tasks": [task.name for task in self.tasks],
        }
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / FILE, content)

    @classmethod
    def read(cls, out: Path) -> StudyRecord:
        """Read a study's.

        Raises:
            MergeError: There is none, or it is not one of ours.
        """
        path = out / FILE
        if not path.is_file():
            raise MergeError(
                f"no {FILE} in it",
                where=str(out),
                hint="run a study first: robustmerge bench study STUDY.yaml -o FOLDER",
            )
        with reading(path):
            text = path.read_text(encoding="utf-8")
        try:
            return _record(json.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MergeError(
                f"not a study of format {FORMAT}: {error!r:.200}",
                where=str(path),
                hint="`robustmerge bench study` writes it again; what is done stays done",
            ) from None


def _plain(value: Any) -> Any:
    """What JSON can say: records and mappings as tables."""
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _record(found: dict[str, Any]) -> StudyRecord:
    if found["format"] != FORMAT:
        raise ValueError(found["format"])
    return StudyRecord(
        found["title"],
        found["note"],
        found["base"],
        found["asked"],
        tuple(TASKS[name] for name in found["tasks"]),
        tuple(found["protocols"]),
        tuple(
            ListedContender(**{**each, "tasks": tuple(each["tasks"])})
            for each in found["contenders"]
        ),
        tuple(PublishedRow(**each) for each in found["published"]),
        found["scores"],
        found["failures"],
    )
