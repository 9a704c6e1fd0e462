"""The functions of the package whose input is no plain LoRA: `extract` and `convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .derive.convert import convert_adapter
from .derive.extract import extract_adapter
from .derive.report import DerivedReport
from .engine.options import DType, ExtrasIn, Layout
from .errors import within
from .threads import Progress, silent


def extract(
    tuned: str | Path,
    output: str | Path,
    *,
    base: str | Path,
    rank: int | str,
    dtype: DType = "float32",
    layout: Layout | None = None,
    extras_in: ExtrasIn = "adapter",
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DerivedReport:
    """Write a LoRA adapter out of a fully fine-tuned model, which takes part in merges.

    Every linear layer that changed gets the leading directions of its change; norms, embeddings,
    the head and the projector are fully trained parameters where they changed. The folder has
    extract.json, with the share of energy that each module keeps. Both models are read shard by
    shard; memory is one module per worker.

    Args:
        tuned: The fine-tuned model, a folder or Hub id.
        output: The folder to write; it appears whole or not at all.
        base: The model that it was trained from, likewise.
        rank: How many directions: a number, energy:0.95 (the fewest that hold this share in a
            module), marchenko-pastur or gavish-donoho (those above noise).
        dtype: Type of the low-rank factors.
        layout: How modules are named in the result; hf where not given.
        extras_in: Write fully trained parameters into the adapter, or to a file next to it.
        workers: Modules computed at the same time; all cores where not given.
        force: Replace an adapter that is already there.
        progress: Called with the modules done and the modules in all.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    with within("robustmerge.extract"):
        return extract_adapter(
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


def convert(
    adapter: str | Path,
    output: str | Path,
    *,
    base: str | Path | None = None,
    initial: str | Path | None = None,
    rank: int | str | None = None,
    layout: Literal["experts", "fused", "projections", "sglang", "sglang-shared"] | None = None,
    dtype: DType = "float32",
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DerivedReport:
    """Write another kind of PEFT adapter as plain LoRA, which merges take.

    Exactly, from the file: AdaLoRA, LoHa, LoKr, GraLoRA; with the base's headers, VeRA and MiSS;
    with the base or the adapter before training, PiSSA and OLoRA. DoRA, IA3 and HiRA change weights
    by something of full rank, of which `rank` says how much is kept.

    Args:
        adapter: An adapter folder, or a Hub id owner/name[@revision][:subfolder].
        output: The folder to write; it appears whole or not at all.
        base: The base model, a folder or Hub id.
        initial: The adapter's folder as it was before training, for PiSSA and related starts.
        rank: A number, energy:0.99, marchenko-pastur or gavish-donoho; nothing is cut where it is
            not given.
        layout: For LoRA on a mixture of experts: fused writes PEFT's target_parameters, experts a
            module for every expert, projections the names that vLLM and transformers 4 use,
            sglang those of SGLang, sglang-shared its 3-D tensors, whose outer side is one for all
            experts; `base` says how a family stores gate and up.
        dtype: Type of the result.
        workers: Modules computed at the same time; all cores where not given.
        force: Replace a conversion that is already there.
        progress: Called with the modules done and the modules in all.

    Raises:
        MergeError: anything the user can fix, also kinds that are no sum; nothing was written
    """
    with within("robustmerge.convert"):
        return convert_adapter(
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
