"""All tables of a study with their notes, and the same figures as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, few

from ....results.table import ReportSection, ResultReport
from ...score import Protocol
from ...tasks import TASKS
from ..published import PublishedRow
from ..record import StudyRecord
from .board import ScoreBoard, read_board
from .score_tables import SourceNotes, averages, differences, scores
from .summary import ContenderSummary, StudySummary, summarize_study

RULES = {"official": "released", "fixed": "corrected"}


@dataclass(frozen=True)
class StudySection(ReportSection):
    """The tables of one protocol, and what they are made from."""

    summary: StudySummary

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """A mark and what it stands for; '' for remarks that have none."""
        return self.tables[0].notes


@dataclass(frozen=True)
class StudyReport(ResultReport):
    """A study and all its tables."""

    sections: tuple[StudySection, ...]
    record: StudyRecord


def make_report(
    out: Path, protocols: Sequence[Protocol] = (), *, draws: int | None = None
) -> StudyReport:
    """Read a study's folder and make its tables.

    By all protocols that the study is scored by, and with as many draws as the comparisons take,
    unless given.
    """
    record = StudyRecord.read(out)
    for protocol in protocols:
        if protocol not in record.protocols:
            raise MergeError(
                f"the study is not scored by the protocol {protocol}",
                where=str(out),
                hint=f"it is by {', '.join(record.protocols)}; `protocols` in the study file says",
            )
    sections = (_section(read_board(out, record, p), draws) for p in protocols or record.protocols)
    return StudyReport(record.title, record.note, record.base, tuple(sections), record)


def _section(board: ScoreBoard, draws: int | None) -> StudySection:
    summary, sources = summarize_study(board, draws=draws), SourceNotes()
    first = scores(summary, sources)
    others = [averages(summary, sources)] if board.averaged else []
    others += [differences(summary, name) for name, pairs in summary.comparisons.items() if pairs]
    notes = (*sources.notes, *_incomplete_metrics(board), *(("", t) for t in _gaps(board)))
    protocol = board.protocol
    title = f"Scored by the {RULES[protocol]} rules ({protocol})"
    tables = (replace(first, notes=notes), *others)
    return StudySection(protocol, title, f"{protocol} rules", tables, summary)


def _incomplete_metrics(board: ScoreBoard) -> list[tuple[str, str]]:
    """Return what † stands for: metrics that could not be computed, and in which tasks."""
    without = {
        task: score.missing
        for entry in board.entries
        for task, score in entry.scores.items()
        if score.missing
    }
    if not without:
        return []
    what = ", ".join(sorted({name for names in without.values() for name in names}))
    where = ", ".join(TASKS[task].column for task in without)
    return [
        (
            "†",
            f"without {what} in {where}, so not to be compared with scores that have it. METEOR "
            "takes Java and the extra robustmerge[captions]; the next run of the study adds it.",
        )
    ]


def _gaps(board: ScoreBoard) -> list[str]:
    """Say which scores are missing, and why where that is known."""
    gaps = []
    for entry in board.entries:
        tasks = [task.name for task in board.record.tasks if task.name in entry.missing]
        if not tasks:
            continue
        failures = board.record.failures.get(entry.label, {})
        why = failures.get("") or next((failures[t] for t in tasks if t in failures), "")
        reason = f"failed: {why.splitlines()[0]}" if why else "not yet run"
        gaps.append(f"{entry.label}, missing on {few(tasks, 12)}: {reason}.")
    return gaps


# --- JSON -----------------------------------------------------------------------------------------


def as_data(report: StudyReport) -> dict[str, Any]:
    """Return the whole report as plain data: what tables show, and what they leave out."""
    record = report.record
    return {
        "title": record.title,
        "note": record.note,
        "base": record.base,
        "asked": dict(record.asked),
        "tasks": {task.name: task.group for task in record.tasks},
        "protocols": {section.name: _section_data(section) for section in report.sections},
    }


def _section_data(section: StudySection) -> dict[str, Any]:
    summary = section.summary
    return {
        "draws": summary.draws,
        "contenders": [_contender(each) for each in summary.contenders],
        "differences": {
            name: [
                {
                    "first": each.first,
                    "second": each.second,
                    "mean": each.difference.value,
                    "low": each.difference.low,
                    "high": each.difference.high,
                    "p": each.p,
                }
                for each in comparisons
            ]
            for name, comparisons in summary.comparisons.items()
        },
        "published": [_published(row, summary.board) for row in summary.board.published],
        "notes": [{"mark": mark, "text": text} for mark, text in section.notes],
    }


def _contender(summary: ContenderSummary) -> dict[str, Any]:
    entry, worst, no_answer = summary.entry, summary.worst, summary.no_answer
    return {
        "label": entry.label,
        "kind": entry.contender.kind,
        "how": dict(entry.contender.how),
        "tasks": {task: _task(summary, task) for task in summary.tasks},
        "missing": list(entry.missing),
        "averages": {group: mean.as_dict() for group, mean in summary.averages.items()},
        "normalized": summary.normalized.as_dict() if summary.normalized else None,
        "worst": {"task": worst[0], **worst[1].as_dict()} if worst else None,
        "no_answer": {"task": no_answer[0], "percent": no_answer[1]} if no_answer else None,
    }


def _task(summary: ContenderSummary, task: str) -> dict[str, Any]:
    score = summary.entry.scores[task]
    return {
        **summary.tasks[task].as_dict(),
        "n": score.n,
        "empty": score.empty,
        "unparsable": score.unparsable,
        "chance": score.chance,
        "parts": dict(score.parts),
        "without": list(score.missing),
    }


def _published(row: PublishedRow, board: ScoreBoard) -> dict[str, Any]:
    means = {group: row.average(board.groups[group], group) for group in board.averaged}
    return {
        "label": row.label,
        "source": row.source,
        "note": row.note,
        "values": dict(row.values),
        "averages": {group: value for group, value in means.items() if value is not None},
    }
