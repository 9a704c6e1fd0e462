"""A safetensors file again, with some of its tensors changed: everything else byte for byte.

Where names, types and shapes stay, the header stays; bytes between changed tensors are copied in
pieces. Tensors may be left out, and others written at the end. Memory: one changed tensor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..adapter.header import HeaderEntry, read_header
from ..adapter.tensors import DTYPES, TensorSpec
from ..errors import MergeError, reading

_PIECE = 1 << 23  # bytes that are copied at once


@dataclass(frozen=True)
class NewTensor:
    """A tensor to write: its type and shape, and how it is computed."""

    spec: TensorSpec
    compute: Callable[[], Tensor]


def rewrite(
    source: Path,
    target: Path,
    changed: Mapping[str, NewTensor],
    added: Mapping[str, NewTensor],
    removed: Collection[str] = (),
) -> None:
    """Write `target` as `source` with other tensors under these names, and new ones at the end.

    A new tensor may have the name of one that is removed.

    Raises:
        MergeError: the source is damaged or changes meanwhile, or a value does not fit its type.
    """
    with reading(source):
        opened = source.open("rb")
    with opened as old:
        entries = read_header(old, source)
        before = os.fstat(old.fileno())
        with target.open("wb") as new:
            start = _write_header(old, new, entries, changed, added, removed)
            for name, entry in sorted(entries.items(), key=lambda item: item[1].begin):
                if name in changed or name in removed:
                    _copy(old, new, start, entry.begin, source)
                    if name in changed:
                        _write(new, name, changed[name])
                    start = entry.end
            _copy(old, new, start, before.st_size, source)
            for name, tensor in added.items():
                _write(new, name, tensor)
        after = os.fstat(old.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _changed(source)


def _write_header(
    old: BinaryIO,
    new: BinaryIO,
    entries: Mapping[str, HeaderEntry],
    changed: Mapping[str, NewTensor],
    added: Mapping[str, NewTensor],
    removed: Collection[str],
) -> int:
    """Write the header of the new file; return where the tensors begin in the old one."""
    old.seek(0)
    length = int.from_bytes(old.read(8), "little")
    text = old.read(length)
    larger = {n: t for n, t in changed.items() if t.spec.shape != entries[n].shape}
    if added or larger or removed:
        header: dict[str, Any] = json.loads(text)
        position = 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1].begin):
            if name in removed:
                del header[name]
                continue
            end = position + entry.end - entry.begin
            if name in larger:
                header[name]["shape"] = list(larger[name].spec.shape)
                end = position + larger[name].spec.nbytes
            header[name]["data_offsets"] = [position, end]
            position = end
        for name, tensor in added.items():
            end = position + tensor.spec.nbytes
            header[name] = {
                "dtype": tensor.spec.dtype,
                "shape": list(tensor.spec.shape),
                "data_offsets": [position, end],
            }
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
    new.write(len(text).to_bytes(8, "little") + text)
    return 8 + length


def _copy(old: BinaryIO, new: BinaryIO, start: int, end: int, source: Path) -> None:
    old.seek(start)
    left = end - start
    while left:
        with reading(source):
            piece = old.read(min(left, _PIECE))
        if not piece:
            raise _changed(source)
        new.write(piece)
        left -= len(piece)


def _write(new: BinaryIO, name: str, tensor: NewTensor) -> None:
    computed = tensor.compute()
    stored = computed.to(DTYPES[tensor.spec.dtype]).contiguous()
    if tuple(stored.shape) != tensor.spec.shape:
        raise ValueError(f"{name}: {tuple(stored.shape)} is not {tensor.spec.shape}")
    if not stored.sum().isfinite() and not stored.isfinite().all():
        raise MergeError(
            f"the new weights reach {float(computed.abs().max()):.3g}, which "
            f"{tensor.spec.dtype}, the type of the base, cannot hold",
            where=name,
            hint="merge with a smaller --scale, or save the base in float32 or bfloat16 first",
        )
    new.write(stored.view(-1).view(torch.uint8).numpy().data)


def _changed(path: Path) -> MergeError:
    return MergeError(
        "the file changed while it was read",
        where=str(path),
        hint="wait until whatever writes it is done, and export again",
    )
