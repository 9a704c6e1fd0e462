"""`robustmerge export`: an adapter in another shape, for programs that do not read adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def export(
    adapter: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    layout: Literal["embedded", "llava", "full"],
    base: str | None = None,
    copy: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write an adapter in another shape, for programs that do not read adapters.

    embedded: the base's files, linked, and the adapter in one folder, which any `from_pretrained`
    of transformers loads as base and adapter where PEFT is installed.

    llava: the folder that the original LLaVA code loads, from any adapter of LLaVA-1.5.

    full: the adapter baked into the base's weights, a model like any other.

    Args:
        adapter: Adapter folder or Hub id.
        output: Folder to write. It appears whole or not at all.
        layout: Which of the shapes.
        base: The base model, a folder or Hub id; what the adapter itself names unless given. For
            llava: the original model, of which only config.json is read.
        copy: For embedded: copy the base's files, so that the folder can be moved elsewhere.
        json: Print the result as JSON.
        force: Replace an export that is already there.
    """
    from . import show_export

    show_export.run(adapter, output, layout=layout, base=base, copy=copy, force=force, as_json=json)
