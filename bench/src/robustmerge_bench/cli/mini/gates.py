"""`robustmerge bench mini gates`: whether a trained benchmark may rank methods at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def gates(
    *,
    root: Path,
    out: Path,
    rank: Literal["input", "full"] = "full",
    items: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check that a trained benchmark is like real models where it matters.

    Every family of experts in the results is judged. Exit code 1 if a gate fails.

    Args:
        root: Folder of the trained benchmark, with base and experts.
        out: Folder of the results.
        rank: Rank of the merges that are compared with each other; at full rank nothing is cut.
        items: Only results over so many test items per task.
        json: Print as JSON.
    """
    from . import show

    return show.gates(root, out, rank, items, as_json=json)
