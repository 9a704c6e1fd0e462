"""`robustmerge bench mini table`: what a run found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def table(
    *,
    out: Path,
    items: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show results as Markdown: averages with intervals, who beats whom, scores of all tasks.

    Args:
        out: Folder of the results.
        items: Only results over so many test items per task.
        json: Print as JSON, with every interval and every pair of merges.
    """
    from . import show

    show.table(out, items, as_json=json)
