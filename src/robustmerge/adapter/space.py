"""Room on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import MergeError


def check_space(folder: Path, needed: int) -> None:
    """Check that the disk of a folder that is being filled holds the result.

    Args:
        folder: The folder, under its hidden name.
        needed: Bytes.

    Raises:
        MergeError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MergeError(
            f"the disk has {free / 1e6:.1f} MB free, the result needs {needed / 1e6:.1f} MB",
            where=str(folder.parent),
            hint="free some space or choose another disk",
        )
