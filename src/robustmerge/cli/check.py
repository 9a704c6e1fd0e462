"""`robustmerge check`: whether an adapter fits its base and the programs that are to load it."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def check(
    output: str,
    /,
    *,
    base: str | None = None,
    for_: Annotated[
        list[Literal["peft", "vllm", "sglang", "llama.cpp"]] | None,
        Parameter(name="--for", negative=""),
    ] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check that an adapter loads, whole and unchanged, where it is to be used.

    Its files are compared with the hashes in merge.json, its settings with its tensors, and its
    tensors with the base model. Exit code 1 if a check fails.

    Args:
        output: Adapter folder or Hub id.
        base: The base model, a folder or Hub id. Only its headers are read.
        for_: A program that is to load the adapter; may be given several times. Without it all are
            looked at, and only peft counts for the exit code.
        json: Print as JSON.
    """
    from . import show_check

    return show_check.run(output, base, for_ or [], as_json=json)
