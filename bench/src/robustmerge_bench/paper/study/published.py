"""Published rows, for comparison: a label, and values by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, get_args

from robustmerge.engine.values import check_keys, check_table
from robustmerge.errors import MergeError, shown, within

from ..score import Protocol
from ..tasks import TASKS, PaperTask
from .values import check_known, check_list, check_once

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
AVERAGED = ("seen", "unseen", "vision")
"""Groups of tasks whose scores are averaged; points and percents of general benchmarks are not."""

_KEYS = {"source", "protocol", "columns", "rows", "note"}


@dataclass(frozen=True)
class PublishedRow:
    """One published row; its values are scores by task, and printed averages by group."""

    label: str
    source: str
    values: Mapping[str, float]
    protocol: Protocol = "official"
    note: str = ""

    def average(self, tasks: Sequence[PaperTask], group: str) -> float | None:
        """Return the average over a group's tasks in the study: as printed, if over the same tasks.

        Otherwise it is the mean of the tasks' values; None where one is missing.
        """
        if self.printed_average(tasks, group) is not None:
            return self.values[group]
        names = [task.name for task in tasks]
        return self.mean(names) if names and self.values.keys() >= {*names} else None

    def printed_average(self, tasks: Sequence[PaperTask], group: str) -> float | None:
        """Return the printed average if it is over these tasks; without values, over all tasks."""
        own = {name for name in self.values if name in TASKS and TASKS[name].group == group}
        whole = {name for name, task in TASKS.items() if task.group == group}
        same = {task.name for task in tasks} == (own or whole)
        return self.values.get(group) if same else None

    def mean(self, names: Sequence[str]) -> float:
        """Return the mean of these tasks' values."""
        return fmean(self.values[name] for name in names)


def read_published(blocks: object) -> tuple[PublishedRow, ...]:
    """Read the published rows of a study file: a list of tables with source, columns and rows."""
    hint = "published: [{source: a table, columns: [vqav2, …], rows: {ties: [66.7]}}]"
    rows: list[PublishedRow] = []
    for number, block in enumerate(check_list("published", blocks, hint, empty=True), 1):
        with within(f"block {number} of published"):
            rows += _read_block(block)
    return tuple(rows)


def _read_block(block: object) -> list[PublishedRow]:
    table = check_table("a block of published", block)
    check_keys("published block", table, _KEYS)
    source, protocol = table.get("source"), table.get("protocol", "official")
    if not isinstance(source, str) or not source:
        raise MergeError("the rows have no source", hint="source: authors and table")
    check_known("protocol", [protocol], PROTOCOLS)
    columns = _read_columns(table.get("columns"))
    rows = check_table("rows", table.get("rows"))
    note = str(table.get("note", "")).strip()
    return [
        PublishedRow(label, source, _read_values(label, columns, values), protocol, note)
        for label, values in rows.items()
    ]


def _read_columns(value: object) -> list[str]:
    hint = "columns: [scienceqa, imagenet, seen], names of tasks, and of groups for averages"
    columns = check_list("columns", value, hint, of="tasks")
    check_known("column", columns, [*TASKS, *AVERAGED])
    check_once(columns, "columns has {} more than once", "name each once")
    return columns


def _read_values(label: str, columns: Sequence[str], values: Any) -> dict[str, float]:
    """Return a row's values; null where nothing was printed."""
    hint = "one number for every column, null where nothing was printed"
    if (
        not isinstance(values, list)
        or any(isinstance(v, bool) for v in values)
        or not all(isinstance(v, int | float | None) for v in values)
    ):
        raise MergeError(
            f"{shown(values)} is not a list of numbers", where=f"row {label}", hint=hint
        )
    if len(values) != len(columns):
        raise MergeError(
            f"{len(values)} values for {len(columns)} columns",
            where=f"row {label}\ncolumns: {', '.join(columns)}",
            hint=hint,
        )
    return {k: float(v) for k, v in zip(columns, values, strict=True) if v is not None}
