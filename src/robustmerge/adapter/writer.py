"""Writing whole or not at all: a hidden folder, filled and synced, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MergeError
from .config import FILE
from .tensors import DTYPES, Spec

_CANNOT = (errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems say that were never able to do a thing."""


def check_target(
    target: Path,
    inputs: Sequence[Path],
    *,
    force: bool,
    holds: tuple[str, str] = ("an adapter", FILE),
) -> None:
    """Check before any work that the result may be written to `target`.

    Args:
        target: The folder to write.
        inputs: Folders that are read.
        force: Whether an older result may be replaced.
        holds: What a result is called, and the file it is known by.

    Raises:
        MergeError: It is or holds one of the inputs; it exists and `force` is not given; it can
            never be replaced; or `force` would replace something else than an older result.
    """
    place = _place(target)
    for folder in inputs:
        if place == folder.resolve() or place in folder.resolve().parents:
            raise MergeError(
                "the output would replace an input",
                where=f"{target}\n{folder}",
                hint="choose another folder; inputs are never overwritten",
            )
    with _writing(target):
        if not place.exists():
            return
        if not place.is_dir() or place.is_mount():
            kind = "a mounted one" if place.is_dir() else "not a folder"
            raise MergeError(
                f"the output exists and is {kind}",
                where=str(target),
                hint="choose a folder that can be made or replaced",
            )
        if not any(place.iterdir()):
            return
    if not force:
        raise MergeError(
            "the output exists",
            where=str(target),
            hint="choose another folder, or --force to replace it",
        )
    kind, file = holds
    if not (place / file).is_file():
        raise MergeError(
            f"the output exists and is not {kind}",
            where=str(target),
            hint=f"--force replaces nothing but {kind}; remove the folder yourself if it may go",
        )


@contextmanager
def whole_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its place when the block ends well.

    On an error or an interrupt the hidden folder is removed, and so are parents made for it. A
    killed process leaves it behind under its hidden name; `target` is never half written.

    Raises:
        MergeError: The folder cannot be made or filled, such as on a full disk; or, unless `force`
            is given, another process filled `target` meanwhile.
    """
    place = _place(target)
    # A part of the name tells whose it is; all of it might be longer than a name may be.
    partial = place.parent / f".{place.name[:40]}.partial-{secrets.token_hex(4)}"
    made = [parent for parent in place.parents if not parent.exists()]
    try:
        with _writing(target):
            partial.mkdir(parents=True)
            yield partial
            for file in partial.iterdir():
                _sync(file)
            _sync(partial)
            _exchange(partial, place, force=force)
        with suppress(OSError):  # it is there, if not yet for good
            _sync(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # it is not empty when all went well
                parent.rmdir()


def _place(target: Path) -> Path:
    """Where a folder really is: the one behind a link is replaced, not the link."""
    try:
        return Path(os.path.realpath(target))
    except ValueError as error:  # a zero byte, which no path has
        raise MergeError(
            f"cannot write the output: {error}", where=repr(str(target)), hint="check the path"
        ) from None


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MergeError(
            f"cannot write the output: {error.strerror or error}",
            where=str(target),
            hint="nothing was left behind; check the path, the free space and the permissions",
        ) from error


def _exchange(partial: Path, target: Path, *, force: bool) -> None:
    """Rename `partial` to `target`; what that replaces is left as `partial`, or removed."""
    if not force or not target.exists():
        with suppress(FileNotFoundError):
            target.rmdir()  # refuses what is not empty: another process was faster
        partial.rename(target)
    elif not _swap(partial, target):
        _replace(partial, target)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot, as only Linux can."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    found: int = renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange)
    return found == 0


def _replace(partial: Path, target: Path) -> None:
    """Rename in two steps; a process killed between them leaves the old folder set aside."""
    aside = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
    try:
        target.rename(aside)
        partial.rename(target)
    finally:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; a folder, where the system can."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT or not path.is_dir():
            raise
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
            _reserve(self._file.fileno(), size)
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
        stored = rounded(tensor, spec.dtype, name)
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


def rounded(tensor: Tensor, dtype: str, name: str) -> Tensor:
    """The tensor in the type of this safetensors name.

    Raises:
        MergeError: A value does not fit that type.
    """
    stored = tensor.detach().to("cpu", DTYPES[dtype]).contiguous()
    if not stored.sum().isfinite() and not stored.isfinite().all():
        raise MergeError(
            f"the merged values reach {float(tensor.abs().max()):.3g}, which {dtype} cannot hold",
            where=name,
            hint="--dtype float32 or bfloat16, or a smaller --scale",
        )
    return stored


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # A path need not be UTF-8; escaped, it is still JSON and still the same path.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _reserve(handle: int, size: int) -> None:
    """Claim the space of a file, where the file system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _layout(specs: Mapping[str, Spec]) -> tuple[bytes, dict[str, int], int]:
    """The header's bytes, each tensor's position in the file, and the file's size."""
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
