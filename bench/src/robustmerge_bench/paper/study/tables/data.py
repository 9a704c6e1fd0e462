"""A study's figures as plain data: what tables show, and what they leave out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ....figure import ScoreEstimate
from ..published import PublishedRow
from .report import Report, Section
from .summary import Summary


def as_data(report: Report) -> dict[str, Any]:
    """The whole report."""
    record = report.record
    return {
        "title": record.title,
        "note": record.note,
        "base": record.base,
        "asked": dict(record.asked),
        "tasks": {task.name: task.group for task in record.tasks},
        "protocols": {section.protocol: _section(section) for section in report.sections},
    }


def _section(section: Section) -> dict[str, Any]:
    standing = section.standing
    return {
        "draws": standing.draws,
        "contenders": [_contender(summary) for summary in standing.summaries],
        "differences": {
            name: [{"first": a, "second": b, **asdict(found)} for (a, b), found in pairs.items()]
            for name, pairs in standing.pairs.items()
        },
        "published": [_printed(row, section) for row in standing.board.printed],
        "notes": [{"mark": mark, "text": text} for mark, text in section.notes],
    }


def _contender(summary: Summary) -> dict[str, Any]:
    entry = summary.entry
    missing = [task for task in entry.named.tasks if entry.missing(task)]
    worst, silent = summary.worst, summary.silent
    return {
        "label": entry.label,
        "kind": entry.named.kind,
        "how": dict(entry.named.how),
        "tasks": {task: _task(summary, task) for task in summary.tasks},
        "missing": missing,
        "averages": {group: _figure(found) for group, found in summary.averages.items()},
        "normalized": _figure(summary.normalized) if summary.normalized else None,
        "worst": {"task": worst[0], **_figure(worst[1])} if worst else None,
        "no_answer": {"task": silent[0], "percent": silent[1]} if silent else None,
    }


def _task(summary: Summary, task: str) -> dict[str, Any]:
    score = summary.entry.scores[task]
    return {
        **_figure(summary.tasks[task]),
        "n": score.n,
        "empty": score.empty,
        "unparsable": score.unparsable,
        "chance": score.chance,
        "parts": dict(score.parts),
        "without": list(score.missing),
    }


def _printed(row: PublishedRow, section: Section) -> dict[str, Any]:
    board = section.standing.board
    means = {group: row.average(board.of(group), group) for group in board.averaged}
    return {
        "label": row.label,
        "source": row.source,
        "note": row.note,
        "values": dict(row.values),
        "averages": {group: value for group, value in means.items() if value is not None},
    }


def _figure(figure: ScoreEstimate) -> dict[str, Any]:
    return {"value": figure.value, "interval": [figure.low, figure.high]}
