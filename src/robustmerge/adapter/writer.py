"""Write a safetensors file tensor by tensor."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import MergeError, first_line
from .precision import check_float16
from .tensors import DTYPES, TensorSpec

_CANNOT = (errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems that do not support an operation at all."""


class SafetensorsWriter:
    """A safetensors file written header first, then tensor by tensor in any order.

    Memory: one tensor. The space is reserved at once, so that a full disk shows before the work.

    Attributes:
        specs: Types and shapes of the tensors.
    """

    def __init__(self, path: Path, specs: Mapping[str, TensorSpec]) -> None:
        """Write the header.

        Raises:
            OSError: the space cannot be reserved.
        """
        self.specs = specs
        self._missing = set(specs)
        header, self._offsets, size = _layout(specs)
        self._file = path.open("w+b")
        try:
            self._file.write(header)
            self._file.flush()
            self._file.truncate(size)  # rows that are never written are zero
            _reserve(self._file.fileno(), size)
        except BaseException:
            self._file.close()
            raise

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor, rounded to the type in the header.

        Raises:
            MergeError: a finite value does not fit that type.
        """
        spec = self.specs[name]
        if tuple(tensor.shape) != spec.shape:
            raise ValueError(f"{name}: {tuple(tensor.shape)} is not {spec.shape}")
        stored = round_to_dtype(tensor, spec.dtype, name)
        self._file.seek(self._offsets[name])
        self._file.write(stored.view(-1).view(torch.uint8).numpy().data)
        self._missing.remove(name)

    def write_rows(self, name: str, begin: int, tensor: Tensor) -> None:
        """Write rows of a tensor, in any order; those that never come are zero.

        Raises:
            MergeError: a finite value does not fit the type.
        """
        spec = self.specs[name]
        end = begin + len(tensor)
        if tuple(tensor.shape[1:]) != spec.shape[1:] or end > spec.shape[0]:
            raise ValueError(f"{name}: rows {begin} to {end} of {tuple(tensor.shape)}")
        stored = round_to_dtype(tensor, spec.dtype, name)
        self._missing.discard(name)
        self._file.seek(self._offsets[name] + begin * (spec.nbytes // spec.shape[0]))
        self._file.write(stored.view(-1).view(torch.uint8).numpy().data)

    def stored_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows back, zeros where none were written."""
        spec = self.specs[name]
        row = spec.nbytes // spec.shape[0]
        self._file.seek(self._offsets[name] + begin * row)
        data = bytearray(self._file.read((end - begin) * row).ljust((end - begin) * row, b"\0"))
        return torch.frombuffer(data, dtype=DTYPES[spec.dtype]).view(-1, *spec.shape[1:])

    def close(self) -> None:
        """Finish the file; every announced tensor must have been written."""
        self._file.close()
        if self._missing:
            raise ValueError(f"never written: {sorted(self._missing)[:3]}")

    def abandon(self) -> None:
        """Close without the check, after an error."""
        self._file.close()


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn a library's own error for a write that failed into the system's, as on a full disk.

    Raises:
        OSError: a library could not write in the block.
    """
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(
            errno.EIO, f"the file system took no more of {path.name} ({first_line(error)})"
        ) from error


def round_to_dtype(tensor: Tensor, dtype: str, name: str) -> Tensor:
    """Return the tensor in the type of this safetensors name.

    Raises:
        MergeError: a value does not fit that type.
    """
    stored = tensor.detach().to("cpu", DTYPES[dtype]).contiguous()
    if not stored.sum().isfinite() and not stored.isfinite().all():
        raise MergeError(
            f"the values reach {float(tensor.abs().max()):.3g}, which {dtype} cannot hold",
            where=name,
            hint="--dtype float32 or bfloat16; in a merge, a smaller --scale does, too",
        )
    if dtype == "F16":
        check_float16(tensor.detach(), stored, name)
    return stored


def _reserve(handle: int, size: int) -> None:
    """Claim the space of a file, where the file system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


@contextmanager
def opened_writer(path: Path, specs: Mapping[str, TensorSpec]) -> Iterator[SafetensorsWriter]:
    """Yield a writer, and close it when every tensor is written."""
    writer = SafetensorsWriter(path, specs)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def _layout(specs: Mapping[str, TensorSpec]) -> tuple[bytes, dict[str, int], int]:
    """Return the header's bytes, each tensor's position in the file, and the file's size."""
    # Wide types first, so that every tensor is aligned to its type.
    order = sorted(specs, key=lambda name: -DTYPES[specs[name].dtype].itemsize)
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        spec = specs[name]
        end = position + spec.nbytes
        entries[name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    offsets = {name: start + entries[name]["data_offsets"][0] for name in order}
    return len(text).to_bytes(8, "little") + text, offsets, start + position
