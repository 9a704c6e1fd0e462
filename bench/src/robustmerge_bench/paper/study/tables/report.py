"""All tables of a study with their notes: a section for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustmerge.errors import MergeError, few

from ...score import Protocol
from ...tasks import TASKS
from ..record import StudyRecord
from .averages import averages
from .board import read_board
from .differences import differences
from .grid import Grid
from .scores import scores
from .sources import Sources
from .summary import Standing, stand

RULES = {
    "official": "by the released rules",
    "fixed": "by the mended rules",
}


@dataclass(frozen=True)
class Section:
    """The tables of one protocol.

    Attributes:
        protocol: The rules.
        standing: What they are made from.
        grids: The tables.
        notes: A mark, and what it stands for; '' for remarks that have none.
    """

    protocol: Protocol
    standing: Standing
    grids: tuple[Grid, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """Its heading."""
        return f"Scored {RULES[self.protocol]} ({self.protocol})"


@dataclass(frozen=True)
class Report:
    """A study and all its tables."""

    record: StudyRecord
    sections: tuple[Section, ...]


def make_report(
    out: Path, protocols: Sequence[Protocol] = (), *, draws: int | None = None
) -> Report:
    """Read a study's folder and make its tables.

    Args:
        out: The folder.
        protocols: By which rules; by all that the study is scored by, unless given.
        draws: How often to draw samples anew; as often as the comparisons take, unless given.

    Raises:
        MergeError: There is no study, it is not scored by such rules, or a score is damaged.
    """
    record = StudyRecord.read(out)
    for protocol in protocols:
        if protocol not in record.protocols:
            raise MergeError(
                f"the study is not scored by the protocol {protocol}",
                where=str(out),
                hint=f"it is by {', '.join(record.protocols)}; `protocols` in the study file says",
            )
    return Report(
        record, tuple(_section(out, record, p, draws) for p in protocols or record.protocols)
    )


def _section(out: Path, record: StudyRecord, protocol: Protocol, draws: int | None) -> Section:
    standing = stand(read_board(out, record, protocol), draws=draws)
    sources = Sources()
    tables = [scores(standing, sources)]
    if standing.board.averaged:
        tables.append(averages(standing, sources))
    tables += [differences(standing, name) for name, pairs in standing.pairs.items() if pairs]
    notes = [*sources.notes, *_lesser(standing), *(("", text) for text in _gaps(standing))]
    return Section(protocol, standing, tuple(tables), tuple(notes))


def _lesser(standing: Standing) -> list[tuple[str, str]]:
    """What † stands for: metrics that could not be computed, and in which tasks."""
    lacking = {
        task: score.missing
        for entry in standing.board.entries
        for task, score in entry.scores.items()
        if score.missing
    }
    if not lacking:
        return []
    what = ", ".join(sorted({name for names in lacking.values() for name in names}))
    where = ", ".join(TASKS[task].column for task in lacking)
    return [
        (
            "†",
            f"without {what} in {where}, so not to be compared with scores that have it. METEOR "
            "takes Java and the extra robustmerge[captions]; the next run of the study adds it.",
        )
    ]


def _gaps(standing: Standing) -> list[str]:
    """What is missing, and why where that is known."""
    found = []
    for entry in standing.board.entries:
        tasks = [task.name for task in standing.board.tasks if entry.missing(task.name)]
        if not tasks:
            continue
        failures = standing.board.record.failures.get(entry.label, {})
        why = failures.get("") or next((failures[t] for t in tasks if t in failures), "")
        reason = f"failed: {why.splitlines()[0]}" if why else "not yet run"
        found.append(f"{entry.label}, missing on {few(tasks, 12)}: {reason}.")
    return found
