"""`robustmerge bench table`: the tables of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def table(
    folder: Path,
    /,
    *,
    format: Literal["markdown", "latex", "json", "html"] | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    protocol: Literal["official", "fixed"] | None = None,
) -> None:
    """Print a study's tables: scores, averages with intervals, who is better than whom.

    Args:
        folder: The folder that `robustmerge bench study` wrote.
        format: markdown, latex, json or html; by the output's ending unless given, else markdown.
        output: File to write to, instead of printing.
        protocol: By which rules only; by all that the study is scored by unless given.
    """
    from . import show_study

    show_study.table(folder, format, output, protocol)
