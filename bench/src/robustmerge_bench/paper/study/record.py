"""study.json: the record of a study, which tables are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from robustmerge import __version__
from robustmerge.errors import MergeError
from robustmerge.files import write_report

from ...jobs.stored import read_stored
from ..score import Protocol
from ..tasks import TASKS, PaperTask
from .contenders import Kind
from .published import PublishedRow

FILE = "study.json"
FORMAT = 1


@dataclass(frozen=True)
class ListedContender:
    """A contender of a table.

    Attributes:
        tasks: Tasks that it can have scores for; the experts have none for unseen tasks.
        how: The merge's settings, or the adapter's name.
    """

    label: str
    kind: Kind
    tasks: tuple[str, ...]
    how: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyRecord:
    """The state of a study.

    Attributes:
        asked: Options that determined the answers.
        tasks: The tasks, in the order of the tables.
        scores: Files of scores from the study's folder, by label, task and protocol.
        failures: Reasons of failures by label and task ('' for all tasks).
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
        """Write the record into the study's folder; it replaces none but an earlier record."""
        content = {
            "format": FORMAT,
            "robustmerge": __version__,
            **asdict(self),
            "tasks": [task.name for task in self.tasks],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_report(out / FILE, text, f'{{\n  "format": {FORMAT},\n  "robustmerge": ')

    @classmethod
    def read(cls, out: Path) -> StudyRecord:
        """Read the record in a study's folder."""
        path = out / FILE
        if not path.is_file():
            raise MergeError(
                f"no {FILE} in it",
                where=str(out),
                hint="run a study first: robustmerge bench study STUDY.yaml -o FOLDER",
            )
        hint = "`robustmerge bench study` writes it again; what is done stays done"
        return read_stored(path, _read, kind="study", format=FORMAT, hint=hint)


def _read(content: Mapping[str, Any]) -> StudyRecord:
    return StudyRecord(
        content["title"],
        content["note"],
        content["base"],
        content["asked"],
        tuple(TASKS[name] for name in content["tasks"]),
        tuple(content["protocols"]),
        tuple(
            ListedContender(**{**each, "tasks": tuple(each["tasks"])})
            for each in content["contenders"]
        ),
        tuple(PublishedRow(**each) for each in content["published"]),
        content["scores"],
        content["failures"],
    )
