"""`robustmerge collect`: what some methods need to know of the adapters' tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def collect(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    base: str,
    samples: Annotated[list[Path], Parameter(consume_multiple=True, negative="")],
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    what: Annotated[
        list[Literal["gram", "fisher"]] | None, Parameter(consume_multiple=True, negative="")
    ] = None,
    through: Literal["own", "merged"] = "own",
    limit: int = 256,
    seed: int = 0,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16"] = "float32",
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run the base model with each adapter on samples of its task and gather statistics.

    RegMean and Fisher merging need them: robustmerge merge … --method regmean --data FOLDER.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder].
        base: The base model, a folder or Hub id.
        samples: One file per adapter. JSON lines with "text", or "prompt" and optional "answer";
            optional "image" or "images", paths relative to the file.
        output: Folder to write. It appears whole or not at all.
        what: gram (for regmean), fisher, or both.
        through: The inputs of a layer come through the adapter's own layers below it, or through
            merged ones (RegMean++, a pass per layer).
        limit: Samples used of each file, the first ones.
        seed: For the tokens that fisher draws where a sample has no answer.
        device: Where to compute: cpu or cuda.
        dtype: Type the model runs in.
        json: Print the record as JSON.
        force: Replace statistics that are already there.
    """
    from . import show_collect

    show_collect.run(
        sources,
        base,
        samples,
        output,
        what=what or ["gram"],
        through=through,
        limit=limit,
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        as_json=json,
    )
