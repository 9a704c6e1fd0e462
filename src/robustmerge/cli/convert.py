"""`robustmerge convert`: another kind of PEFT adapter as plain LoRA."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..engine.options import DType
from .extract import print_derived


def convert(
    adapter: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    base: str | None = None,
    initial: str | None = None,
    rank: str | None = None,
    layout: Literal["experts", "fused", "projections", "sglang", "sglang-shared"] | None = None,
    dtype: DType = "float32",
    workers: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write another kind of PEFT adapter as plain LoRA, which every runtime loads and merges take.

    Exactly, from the file: AdaLoRA, LoHa, LoKr, GraLoRA; with --base, of which headers are read,
    VeRA and MiSS; with --base or --initial, PiSSA and OLoRA. DoRA, IA3 and HiRA change weights by
    something of full rank, of which --rank says how much is kept. Other kinds are refused.

    Args:
        adapter: Adapter folder or Hub id.
        output: Folder to write. It appears whole or not at all.
        base: The base model, a folder or Hub id.
        initial: The adapter's folder as it was before training, for PiSSA and related starts.
        rank: A number, energy:0.99, marchenko-pastur or gavish-donoho; nothing is cut unless given.
        layout: For LoRA on a mixture of experts: fused writes PEFT's target_parameters, experts a
            module for every expert, projections the names that vLLM and transformers 4 use,
            sglang those of SGLang, sglang-shared its 3-D tensors, whose outer side is one for all
            experts; --base says how a family stores gate and up.
        dtype: Type of the result.
        workers: Modules computed side by side; all cores unless given.
        json: Print the result as JSON.
        force: Replace a conversion that is already there.
    """
    from ..derive.convert import convert_adapter
    from .show_merge import progress_bar

    with progress_bar("converting modules") as progress:
        report = convert_adapter(
            adapter,
            output,
            base=base,
            initial=initial,
            rank=rank,
            dtype=dtype,
            target=layout,
            workers=workers,
            force=force,
            progress=progress,
        )
    if json:
        print(json_format.dumps({"output_folder": str(output), **report.record()}, indent=2))
    else:
        print_derived(report)
