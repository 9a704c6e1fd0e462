"""`robustmerge export`: an adapter in another format, for programs that do not read adapters."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from ..errors import MergeError, few
from .rows import LabeledRow, print_rows

if TYPE_CHECKING:  # it imports torch
    from ..export import ExportReport

FormatName = Literal["embedded", "original", "full", "gguf"]
"""The names of `export.EXPORTERS`, which takes torch to import; a test holds them to it."""

LayoutName = Literal["embedded", "llava", "full"]
"""What the formats were called when the option was --layout."""


def export(
    adapter: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    format_: Annotated[FormatName | None, Parameter(name="--format")] = None,
    layout: Annotated[LayoutName | None, Parameter(show=False)] = None,
    base: str | None = None,
    copy: Annotated[bool, Parameter(negative="")] = False,
    leave_out: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write an adapter in another format, for programs that do not read adapters.

    embedded: the base's files, linked, and the adapter in one folder, which `from_pretrained` of
    transformers loads as base and adapter where PEFT is installed.

    original: the folder that the original LLaVA code loads, from any adapter of LLaVA-1.5.

    full: the adapter baked into the base's weights, a model like any other. A base in 4 or 8 bit
    (FP8, bitsandbytes, GPTQ, AWQ, compressed-tensors, MXFP4) is dequantized, and written in 16 bit:
    the sum with the rounded weights, which the adapter was trained on if that was its base. --base
    with the original model gives the sum with the original weights.

    gguf: one file for llama.cpp, which adds it to its own file of the base: --lora OUT.gguf. It
    takes updates of the language model; all else is refused, or lost by --leave-out. Needs
    robustmerge[gguf].

    Args:
        adapter: Adapter folder or Hub id.
        output: Folder to write, for gguf the file. It appears whole or not at all.
        format_: Which of the formats.
        layout: The former name of --format, whose `original` it calls `llava`.
        base: The base model, a folder or Hub id; what the adapter itself names unless given. For
            original: the original model. Of this and of gguf's only config.json is read.
        copy: For embedded: copy the base's files, so that the folder can be moved elsewhere.
        leave_out: For gguf: modules and fully trained parameters to leave out, as a shell pattern
            of their names such as '*vision_tower*'; may be given several times. What that loses is
            shown.
        json: Print the result as JSON.
        force: Replace an export that is already there.
    """
    name = _format_name(format_, layout)
    from ..export import export_adapter
    from .show_merge import progress_bar

    with progress_bar("changing tensors") as progress:
        report = export_adapter(
            adapter,
            output,
            format=name,
            base=base,
            copy=copy,
            force=force,
            progress=progress,
            leave_out=leave_out,
        )
    if json:
        print(json_format.dumps({"output_folder": str(output), **report.record()}, indent=2))
    else:
        _print(report, output)


def _format_name(name: FormatName | None, layout: LayoutName | None) -> str:
    """Return the format that either option names.

    Raises:
        MergeError: neither option is given, or both.
    """
    if (name is None) == (layout is None):
        raise MergeError(
            "no format" if name is None else "--layout is the former name of --format",
            where="--format" if name is None else f"--format {name} --layout {layout}",
            hint="--format embedded, --format original, --format full or --format gguf",
        )
    if name is not None:
        return name
    former = "original" if layout == "llava" else str(layout)
    note = f"note: --layout {layout} is now called --format {former}"
    Console(stderr=True, soft_wrap=True).print(note, markup=False)
    return former


def _print(report: ExportReport, output: Path) -> None:
    from ..checks.runtimes import version_note

    rows = [LabeledRow("format", report.format), LabeledRow("adapter", report.adapter)]
    if report.base:
        rows.append(LabeledRow("base", report.base))
    rows.append(LabeledRow("modules", f"{report.modules} low-rank updates"))
    if report.replaced:
        names = few(list(report.replaced), 2)
        rows.append(LabeledRow("replaced", f"{len(report.replaced)} tensors: {names}"))
    if report.untied:
        rows.append(LabeledRow("head", "has a weight of its own now, apart from the embeddings"))
    if report.onto:
        rows.append(LabeledRow("added to", report.onto))
    rows += [LabeledRow("left out", lost) for lost in report.left_out]
    rows.append(LabeledRow("written to", str(output)))
    print_rows(Console(soft_wrap=True, highlight=False), rows)
    print(f"\nnext: {report.usage(output)}")
    if report.format == "embedded" and (note := version_note()):
        Console(stderr=True, soft_wrap=True).print(f"note: {note}", markup=False)
