"""`robustmerge diagnose`: see why a merge works or fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import MergeError


def diagnose(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    merged: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    base: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    format: Annotated[Literal["html", "md", "png"] | None, Parameter(negative="")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    workers: int | None = None,
) -> None:
    """Diagnose whether adapters can be merged, and what merges retain of them.

    Before a merge: size and spectrum of the updates, their cosines and subspace overlap, and
    whether A and B can be merged separately. After it: how well each adapter's directions are
    reproduced, how much of each adapter is retained, and how much of the merge's energy is
    unattributed.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder].
        merged: Folders or Hub ids of one or several merges of these adapters, to compare them.
        base: The base model, a folder or Hub id, to compare the size of the updates with its
            weights.
        output: A file to write: name.html for a report, name.json for all tables.
        format: html is a page in one file; md writes Markdown with images to a folder, png only
            the images.
        json: Print all tables as JSON.
        workers: Number of modules measured in parallel; all cores by default.
    """
    kind = _output_kind(output, format)
    from . import show_diagnosis
    from .optional import needing

    with needing("a report", "robustmerge[diagnose]"):
        write = show_diagnosis.make_writer(output, kind)
    with needing("diagnosing merges", "robustmerge[diagnose]"):
        diagnosis = show_diagnosis.run(sources, merged or [], base, workers)
    show_diagnosis.show(diagnosis, write, as_json=json)


def _output_kind(output: Path | None, format: str | None) -> str | None:
    """Return the kind of the output, from the option or the file's name.

    Raises:
        MergeError: the kind is unknown, or an output file is missing.
    """
    if output is None:
        if format is not None:
            raise MergeError("no place to write to", where="--format", hint="name one with -o")
        return None
    kind = format or output.suffix[1:]
    if kind not in ("html", "json", *((format,) if format else ())):
        raise MergeError(
            f"no report of the kind {output.suffix!r}",
            where=str(output),
            hint="name it NAME.html or NAME.json; for a folder say --format md or --format png",
        )
    return kind
