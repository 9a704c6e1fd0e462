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
    """See whether adapters can be merged, and what merges have made of them.

    Before a merge: how large and how uneven the updates are, whether they use the same directions,
    whether their factors can be merged apart. After it: what became of each adapter's directions,
    how much of each is kept, and how much of the merge is nobody's.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder].
        merged: Merges of these adapters, likewise; one or several, to compare them.
        base: The base model, a folder or Hub id, to compare the updates with its weights in size.
        output: A file to write: name.html for a report to look at, name.json for all tables.
        format: html is a page in one file; md and png write Markdown with pictures, or pictures
            alone, to a folder.
        json: Print all tables as JSON.
        workers: Modules looked at side by side; all cores unless given.
    """
    kind = _kind(output, format)
    from . import show_diagnosis
    from .optional import needing

    with needing("a report", "robustmerge[diagnose]"):
        write = show_diagnosis.writer(output, kind)
    with needing("looking at merges", "robustmerge[diagnose]"):
        found = show_diagnosis.run(sources, merged or [], base, workers)
    show_diagnosis.give(found, write, as_json=json)


def _kind(output: Path | None, format: str | None) -> str | None:
    """What to write, by what was asked for or by the file's name.

    Raises:
        MergeError: Neither says.
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
