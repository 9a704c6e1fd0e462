"""Where hidden states are between two blocks: on the host, or on disk.

A file is written, mapped, and taken out of its folder at once. The system reads its pages as they
are wanted and drops them where memory is short; its space is free again when the tensor is gone,
after a stop as well, and nothing of it is in the folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MergeError

Keep = Callable[[Tensor], Tensor]
"""Returns hidden states as they are kept, with the same values."""


def on_host(states: Tensor) -> Tensor:
    """Keep hidden states in memory."""
    return states.cpu()


def on_disk(folder: Path) -> Keep:
    """Return what keeps hidden states in files that are mapped into memory.

    Args:
        folder: Where the files are.
    """

    def keep(states: Tensor) -> Tensor:
        host = states.detach().cpu().contiguous()
        if not host.numel():
            return host
        try:
            mapped = _mapped(host, folder)
        except OSError as error:
            raise MergeError(
                f"hidden states cannot be written: {error.strerror}",
                where=str(folder),
                hint="name a --work folder with more space, or --set activations=host",
            ) from None
        return mapped.view(host.shape)

    return keep


def _mapped(host: Tensor, folder: Path) -> Tensor:
    """Return the values of a tensor as a map of a file that is in no folder [values]."""
    handle, name = tempfile.mkstemp(prefix="states-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(host.flatten().view(torch.uint8).numpy().data)
        return torch.from_file(name, shared=True, size=host.numel(), dtype=host.dtype)
    finally:
        Path(name).unlink()
