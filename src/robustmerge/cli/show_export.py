"""What `robustmerge export` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from ..errors import MergeError, few
from ..export import ExportReport, export_adapter
from .rows import LabeledRow, print_rows
from .show_merge import progress_bar


def run(
    adapter: str,
    output: Path,
    *,
    layout: str,
    base: str | None,
    copy: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Export, with a progress bar on stderr, and print what was written.

    Raises:
        MergeError: --copy with another layout, or whatever exporting raises.
    """
    if copy and layout != "embedded":
        raise MergeError(
            f"nothing is linked in the layout {layout}", where="--copy", hint="leave it out"
        )
    with progress_bar("changing tensors") as progress:
        exported = export_adapter(
            adapter, output, layout=layout, base=base, copy=copy, force=force, progress=progress
        )
    if as_json:
        print(json.dumps({"output_folder": str(output), **exported.record()}, indent=2))
    else:
        _print(exported, output)


def _print(exported: ExportReport, output: Path) -> None:
    rows = [LabeledRow("layout", exported.layout), LabeledRow("adapter", exported.adapter)]
    if exported.base:
        rows.append(LabeledRow("base", exported.base))
    rows.append(LabeledRow("modules", f"{exported.modules} low-rank updates"))
    if exported.replaced:
        rows.append(
            LabeledRow(
                "replaced", f"{len(exported.replaced)} tensors: {few(list(exported.replaced), 2)}"
            )
        )
    if exported.untied:
        rows.append(LabeledRow("head", "has a weight of its own now, the embeddings' is another"))
    rows.append(LabeledRow("written to", str(output)))
    print_rows(Console(soft_wrap=True, highlight=False), rows)
    print(f"\nnext: {_next(exported.layout, output)}")


def _next(layout: str, output: Path) -> str:
    """How the folder is used."""
    if layout == "llava":
        return f"--model-path {output} --model-base ORIGINAL_LLAVA, in the original code's scripts"
    return f"AutoModelForImageTextToText.from_pretrained({str(output)!r})" + (
        ", with PEFT installed" if layout == "embedded" else ""
    )
