"""`robustmerge resize`: one adapter at a smaller rank, such as a server's limit."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from ..engine.options import DType
from .rows import LabeledRow, print_rows

if TYPE_CHECKING:  # it imports torch
    from ..engine.report import MergeReport


def resize(
    adapter: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    rank: str,
    dtype: DType | None = None,
    device: str = "cpu",
    workers: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write an adapter at a smaller rank, such as a server's limit.

    Every module's update is cut to its best approximation of that rank. merge.json in the result
    has the share of energy that each module keeps.

    Args:
        adapter: Adapter folder or Hub id.
        output: Folder to write. It appears whole or not at all.
        rank: The most that the result's rank may be, or energy:0.99, the smallest rank that keeps
            this share of every module's update.
        dtype: Type of the result; that of the adapter unless given.
        device: Where to compute: cpu or cuda.
        workers: Modules computed side by side; all cores unless given.
        json: Print the result as JSON.
        force: Replace an adapter that is already there.
    """
    from ..engine.resize import resize_adapter
    from .show_merge import progress_bar

    with progress_bar("cutting updates") as progress:
        report = resize_adapter(
            adapter,
            output,
            rank=rank,
            dtype=dtype,
            device=device,
            workers=workers,
            force=force,
            progress=progress,
        )
    if json:
        print(json_format.dumps({"output_folder": str(output), **report.record()}, indent=2))
    else:
        _print(report, output)


def _print(report: MergeReport, output: Path) -> None:
    mean, least = report.energy
    ranks = sorted({rank for module in report.modules for rank in module.ranks})
    rows = [
        LabeledRow("adapter", report.plan.adapters[0].label),
        LabeledRow("modules", str(len(report.modules))),
        LabeledRow("rank", f"{report.rank} (before: {', '.join(map(str, ranks))})"),
        LabeledRow("energy kept", f"{mean:.2%} on average, {least:.2%} at least"),
        LabeledRow("written to", str(output)),
    ]
    print_rows(Console(soft_wrap=True, highlight=False), rows)
    for warning in report.warnings:
        Console(stderr=True, soft_wrap=True).print(f"note: {warning}", markup=False)
