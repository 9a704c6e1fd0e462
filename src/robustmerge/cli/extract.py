"""`robustmerge extract`: a LoRA adapter out of a fully fine-tuned model."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from ..engine.options import DType, ExtrasIn, Layout
from .rows import LabeledRow, print_rows

if TYPE_CHECKING:  # it imports torch
    from ..derive.report import DerivedReport


def extract(
    tuned: str,
    /,
    *,
    base: str,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    rank: str,
    dtype: DType = "float32",
    layout: Layout | None = None,
    extras_in: ExtrasIn = "adapter",
    workers: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a LoRA adapter out of a fully fine-tuned model, which takes part in merges.

    Every linear layer that changed gets the leading directions of its change. Norms, embeddings,
    the head and the projector are written as fully trained parameters where they changed.

    Args:
        tuned: The fine-tuned model, a folder or Hub id.
        base: The model that it was trained from, likewise.
        output: Folder to write. It appears whole or not at all.
        rank: How many directions: a number, energy:0.95 (the fewest that hold this share in a
            module), marchenko-pastur or gavish-donoho (those above noise).
        dtype: Type of the low-rank factors.
        layout: How modules are named in the result; hf unless given.
        extras_in: Write fully trained parameters into the adapter, or to a file next to it.
        workers: Modules computed side by side; all cores unless given.
        json: Print the result as JSON.
        force: Replace an adapter that is already there.
    """
    from ..derive.extract import extract_adapter
    from .show_merge import progress_bar

    with progress_bar("decomposing changes") as progress:
        report = extract_adapter(
            tuned,
            output,
            base=base,
            rank=rank,
            dtype=dtype,
            layout_name=layout,
            beside=extras_in == "beside",
            workers=workers,
            force=force,
            progress=progress,
        )
    if json:
        print(json_format.dumps({"output_folder": str(output), **report.record()}, indent=2))
    else:
        print_derived(report)


def print_derived(report: DerivedReport) -> None:
    """Print what an extraction or a conversion did."""
    share, least = report.energy
    ranks = sorted(module.rank for module in report.modules)
    rows = [
        LabeledRow("from", report.source),
        LabeledRow("base", report.base or "not named"),
        LabeledRow("modules", f"{sum(map(bool, ranks))} of {len(ranks)} that changed"),
        LabeledRow("rank", f"{report.rank} (of modules: {ranks[0]} to {ranks[-1]})"),
        LabeledRow("energy kept", f"{share:.2%} of all, {least:.2%} at least in a module"),
        LabeledRow("extras", f"{len(report.extras)} fully trained tensors"),
        LabeledRow("written to", str(report.output)),
    ]
    print_rows(Console(soft_wrap=True, highlight=False), rows)
    for note in report.notes:
        Console(stderr=True, soft_wrap=True).print(f"note: {note}", markup=False)
    print(f"\nnext: robustmerge check {report.output} --base {report.base or 'MODEL'}")
