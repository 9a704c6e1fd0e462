"""The scores of all contenders by one protocol, checked to be of the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from robustmerge.errors import MergeError, few

from ...score import Protocol, Score
from ...tasks import PaperTask
from ..published import AVERAGED, PublishedRow
from ..record import ListedContender, StudyRecord


@dataclass(frozen=True)
class ContenderScores:
    """A contender and its scores by task, without those that are missing."""

    contender: ListedContender
    scores: Mapping[str, Score]

    @property
    def label(self) -> str:
        """The contender's name."""
        return self.contender.label

    @property
    def missing(self) -> tuple[str, ...]:
        """The tasks that it should have a score of and has none."""
        return tuple(task for task in self.contender.tasks if task not in self.scores)


@dataclass(frozen=True)
class ScoreBoard:
    """All scores of a study by one protocol, and the rows that others printed by it."""

    record: StudyRecord
    protocol: Protocol
    entries: tuple[ContenderScores, ...]
    published: tuple[PublishedRow, ...]

    @cached_property
    def groups(self) -> Mapping[str, tuple[PaperTask, ...]]:
        """The tasks of every group, in the order of the tables."""
        names = dict.fromkeys(task.group for task in self.record.tasks)
        return {g: tuple(t for t in self.record.tasks if t.group == g) for g in names}

    @cached_property
    def averaged(self) -> Mapping[str, tuple[str, ...]]:
        """The groups that have an average, and the names of their tasks."""
        return {g: tuple(t.name for t in self.groups[g]) for g in AVERAGED if g in self.groups}

    @property
    def experts(self) -> ContenderScores | None:
        """The individual experts, if the study has them."""
        return next((each for each in self.entries if each.contender.kind == "individual"), None)

    @cached_property
    def decimals(self) -> int:
        """As many decimals as were printed, so that rows can be compared; 1 where none were."""
        values = (value for row in self.published for value in row.values.values())
        texts = (f"{value!r}".rpartition(".")[2] for value in values)
        return min(2, max((len(text) for text in texts if text != "0"), default=1))


def read_board(out: Path, record: StudyRecord, protocol: Protocol) -> ScoreBoard:
    """Read the scores of a study."""
    entries = []
    for contender in record.contenders:
        files = record.scores.get(contender.label, {})
        scores = {
            task.name: Score.read(out / files[task.name][protocol])
            for task in record.tasks
            if protocol in files.get(task.name, {})
        }
        entries.append(ContenderScores(contender, scores))
    for task in record.tasks:
        _check_same({e.label: e.scores[task.name] for e in entries if task.name in e.scores})
    published = tuple(row for row in record.published if row.protocol == protocol)
    return ScoreBoard(record, protocol, tuple(entries), published)


def _check_same(scores: Mapping[str, Score]) -> None:
    first = next(iter(scores), None)
    for label, score in scores.items():
        other = scores[first] if first is not None else score
        if score.ids != other.ids:
            raise _unequal(score.task, f"{first}: {other.n} samples", f"{label}: {score.n} samples")
        if score.missing != other.missing or score.rows.shape != other.rows.shape:
            ours, theirs = (few(s.missing) or "no metric" for s in (other, score))
            raise _unequal(score.task, f"{first}: without {ours}", f"{label}: without {theirs}")


def _unequal(task: str, ours: str, theirs: str) -> MergeError:
    return MergeError(
        f"scores of {task} are not of the same samples and metrics",
        where=f"{ours}\n{theirs}",
        hint="run `robustmerge bench study` again, which scores again what has changed",
    )
