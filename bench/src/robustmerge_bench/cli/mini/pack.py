"""`robustmerge bench mini pack`: a training as a small folder that can be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def pack(
    *,
    root: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    experts: str = "shared-0",
    note: str = "",
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write base, one set of experts and the joint adapter in half precision, with a manifest.

    Args:
        root: Folder of the trained benchmark.
        output: Folder to write. It appears whole or not at all.
        experts: Which set.
        note: What else the manifest should say of how it was made.
        force: Replace an artifact that is already there.
    """
    from robustmerge.cli.optional import needing

    with needing("packing", "robustmerge-bench"):
        from ...mini.artifact import pack as write

    init, _, rest = experts.partition("-")
    seed = rest.partition("-")[0]
    made_by = {
        "command": f"robustmerge bench mini train --root ROOT --seeds {seed} --init {init}",
        "seed": int(seed) if seed.isdigit() else seed,
    }
    artifact = write(
        root,
        output,
        made_by=made_by | ({"note": note} if note else {}),
        experts=experts,
        force=force,
    )
    print(
        f"{output}: {len(artifact.manifest['files'])} files, {artifact.manifest['bytes']:,} bytes"
    )
