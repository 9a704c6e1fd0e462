"""Writing whole or not at all: a hidden folder, filled and synced, then renamed into place."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MergeError
from .config import FILE
from .tensors import DTYPES, Spec


def check_target(target: Path, inputs: Sequence[Path], *, force: bool) -> None:
    """Check before any work that the result may be written to `target`.

    Raises:
        MergeError: It is, holds or lies under one of the inputs' own files; it exists and `force`
            is not given; or `force` would replace something that is no adapter.
    """
    resolved = target.resolve()
    for folder in inputs:
        if resolved == folder.resolve() or resolved in folder.resolve().parents:
            raise MergeError(
                "the output would replace an input",
                where=f"{target}\n{folder}",
                hint="choose another folder; inputs are never overwritten",
            )
    if not target.exists():
        return
    if not target.is_dir():
        raise MergeError("the output exists and is not a folder", where=str(target))
    if not any(target.iterdir()):
        return
    if not force:
        raise MergeError(
            "the output exists",
            where=str(target),
            hint="choose another folder, or --force to replace it",
        )
    if not (target / FILE).is_file():
        raise MergeError(
            "the output exists and is not an adapter",
            where=str(target),
            hint="--force replaces adapters only; remove the folder yourself if it may go",
        )


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its place when the block ends well.

    On an error or an interrupt the hidden folder is removed. A killed process leaves it behind
    under its hidden name; `target` is never half written.

    Raises:
        MergeError: The folder cannot be made or filled, such as on a full disk.
    """
    token = secrets.token_hex(4)
    partial = target.parent / f".{target.name}.partial-{token}"
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in partial.iterdir():
            _sync(file)
        _sync(partial)
        _exchange(partial, target, target.parent / f".{target.name}.replaced-{token}")
    except OSError as error:
        raise MergeError(
            f"cannot write the output: {error.strerror or error}",
            where=str(target),
            hint="nothing was left behind; check the free space and the permissions",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(partial: Path, target: Path, aside: Path) -> None:
    if target.exists():
        target.rename(aside)
    partial.rename(target)
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, where the system can."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class SafetensorsWriter:
    """A safetensors file written header first, then tensor by tensor in any order.

    Memory: one tensor. The space is reserved at once, so that a full disk shows before the work.
    """

    def __init__(self, path: Path, specs: Mapping[str, Spec]) -> None:
        """Write the header.

        Raises:
            OSError: The space cannot be reserved.
        """
        self._specs = specs
        self._missing = set(specs)
        header, self._offsets, size = _layout(specs)
        self._file = path.open("wb")
        try:
            self._file.write(header)
            self._file.flush()
            if hasattr(os, "posix_fallocate") and size > len(header):
                os.posix_fallocate(self._file.fileno(), 0, size)
        except BaseException:
            self._file.close()
            raise

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor, rounded to the type the header announces.

        Raises:
            MergeError: A finite value does not fit that type.
        """
        spec = self._specs[name]
        if tuple(tensor.shape) != spec.shape:
            raise ValueError(f"{name}: {tuple(tensor.shape)} is not {spec.shape}")
        stored = tensor.detach().to("cpu", DTYPES[spec.dtype]).contiguous()
        if not stored.sum().isfinite() and not stored.isfinite().all():
            raise MergeError(
                f"the merged values reach {float(tensor.abs().max()):.3g}, which {spec.dtype} "
                "cannot hold",
                where=name,
                hint="--dtype float32 or bfloat16, or a smaller --scale",
            )
        self._file.seek(self._offsets[name])
        self._file.write(stored.view(-1).view(torch.uint8).numpy().data)
        self._missing.remove(name)

    def close(self) -> None:
        """Finish the file; every announced tensor must have been written."""
        self._file.close()
        if self._missing:
            raise ValueError(f"never written: {sorted(self._missing)[:3]}")

    def abandon(self) -> None:
        """Close without the check, after an error."""
        self._file.close()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _layout(specs: Mapping[str, Spec]) -> tuple[bytes, dict[str, int], int]:
    """The header's bytes, each tensor's position in the file, and the file's size."""
    # Wide types first, so that every tensor is aligned to its type.
    order = sorted(specs, key=lambda name: -DTYPES[specs[name].dtype].itemsize)
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        spec = specs[name]
        end = position + math.prod(spec.shape) * DTYPES[spec.dtype].itemsize
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
