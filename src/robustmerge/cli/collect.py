"""`robustmerge collect`: what some methods need to know of the adapters' tasks."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from ..errors import few
from ..statistic_kinds import KINDS, KindName
from .optional import needing
from .rows import LabeledRow, print_rows


def collect(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    base: str,
    samples: Annotated[list[Path], Parameter(consume_multiple=True, negative="")],
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    what: Annotated[list[KindName] | None, Parameter(consume_multiple=True, negative="")] = None,
    through: Literal["own", "merged"] = "own",
    limit: int = 256,
    seed: int = 0,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16"] = "float32",
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run the base model with each adapter on samples of its task and gather statistics.

    RegMean, Fisher merging and others need them: robustmerge merge … --method regmean --data
    FOLDER.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder].
        base: The base model, a folder or Hub id.
        samples: One file per adapter. JSON lines with "text", or "prompt" and optional "answer";
            optional "image" or "images", paths relative to the file.
        output: Folder to write. It appears whole or not at all.
        what: Any of inputs (for regmean), gram (for regmean-rows, output-fit and esm) and fisher;
            inputs unless given, or gram through merged layers.
        through: The inputs of a layer come through the adapter's own layers below it, or through
            merged ones (RegMean++, a pass per layer).
        limit: Samples used of each file, the first ones.
        seed: For the tokens that fisher draws where a sample has no answer.
        device: Where to compute: cpu or cuda.
        dtype: Type the model runs in.
        json: Print the record as JSON.
        force: Replace statistics that are already there.
    """
    with needing("running a model", "robustmerge[collect]"):
        from ..collect.folders import collect_folders
    from .show_merge import progress_bar

    with progress_bar(f"collecting from {len(sources)} adapters") as progress:
        record = collect_folders(
            sources,
            base,
            samples,
            output,
            what=what,
            through=through,
            limit=limit,
            seed=seed,
            device=device,
            dtype=dtype,
            force=force,
            progress=progress,
        )
    if json:
        print(json_format.dumps({"output_folder": str(output), **record}, indent=2))
    else:
        _print(record, output)


def _print(record: Mapping[str, Any], output: Path) -> None:
    entries = record["adapters"]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            LabeledRow(
                "gathered", f"{', '.join(record['what'])}, through {record['through']} layers"
            ),
            *(
                LabeledRow(e["adapter"], f"{e['samples']} samples, {e['tokens']} tokens")
                for e in entries
            ),
            LabeledRow("written to", str(output)),
        ],
    )
    for entry in entries:
        if unseen := entry["unseen"]:
            note = (
                f"note: no sample of {entry['adapter']} reached {len(unseen)} modules, whose "
                f"statistics are zero: {few(unseen)}"
            )
            Console(stderr=True, soft_wrap=True).print(note, markup=False)
    names = " ".join(entry["adapter"] for entry in entries)
    method = KINDS[record["what"][0]].method
    print(f"\nnext: robustmerge merge {names} --method {method} --data {output} -o OUTPUT")
