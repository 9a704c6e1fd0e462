"""The scores of all contenders by one protocol, checked to be of the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robustmerge.errors import MergeError, few

from ...score import Protocol, Score
from ...tasks import PaperTask
from ..published import AVERAGED, PublishedRow
from ..record import ListedContender, StudyRecord


@dataclass(frozen=True)
class Entry:
    """A contender and its scores.

    Attributes:
        named: The contender.
        scores: By task; what is missing is not in it.
    """

    named: ListedContender
    scores: Mapping[str, Score]

    @property
    def label(self) -> str:
        """What it is called."""
        return self.named.label

    def missing(self, task: str) -> bool:
        """Whether it should have a score of this task, and has none."""
        return task in self.named.tasks and task not in self.scores


@dataclass(frozen=True)
class Board:
    """All that tables of one protocol are made from.

    Attributes:
        record: The study's.
        protocol: The rules.
        entries: The contenders, in the study's order.
        printed: Rows that others printed by these rules.
    """

    record: StudyRecord
    protocol: Protocol
    entries: tuple[Entry, ...]
    printed: tuple[PublishedRow, ...]

    @property
    def tasks(self) -> tuple[PaperTask, ...]:
        """The tasks, in the order of the tables."""
        return self.record.tasks

    def of(self, group: str) -> tuple[PaperTask, ...]:
        """The tasks of a group."""
        return tuple(task for task in self.tasks if task.group == group)

    @property
    def averaged(self) -> tuple[str, ...]:
        """The groups that have an average."""
        return tuple(group for group in AVERAGED if self.of(group))

    def has_mean(self, group: str) -> bool:
        """Whether a group has several tasks and an average that says something of its own."""
        return group in self.averaged and len(self.of(group)) > 1

    @property
    def experts(self) -> Entry | None:
        """The individual experts, if the study has them."""
        return next((each for each in self.entries if each.named.kind == "individual"), None)


def read_board(out: Path, record: StudyRecord, protocol: Protocol) -> Board:
    """Read the scores of a study.

    Raises:
        MergeError: A score is damaged, or scores of a task are not of the same samples.
    """
    entries = []
    for named in record.contenders:
        files = record.scores.get(named.label, {})
        scores = {
            task.name: Score.read(out / files[task.name][protocol])
            for task in record.tasks
            if protocol in files.get(task.name, {})
        }
        entries.append(Entry(named, scores))
    for task in record.tasks:
        _check_same({e.label: e.scores[task.name] for e in entries if task.name in e.scores})
    printed = tuple(row for row in record.published if row.protocol == protocol)
    return Board(record, protocol, tuple(entries), printed)


def _check_same(scores: Mapping[str, Score]) -> None:
    first = next(iter(scores), None)
    for label, score in scores.items():
        one = scores[first] if first is not None else score
        if score.ids != one.ids:
            raise _unequal(score.task, f"{first}: {one.n} samples", f"{label}: {score.n} samples")
        if score.missing != one.missing or score.rows.shape != one.rows.shape:
            ours, theirs = (few(s.missing) or "no metric" for s in (one, score))
            raise _unequal(score.task, f"{first}: without {ours}", f"{label}: without {theirs}")


def _unequal(task: str, ours: str, theirs: str) -> MergeError:
    return MergeError(
        f"scores of {task} are not of the same samples and metrics",
        where=f"{ours}\n{theirs}",
        hint="run `robustmerge bench study` again, which scores anew what has changed",
    )
