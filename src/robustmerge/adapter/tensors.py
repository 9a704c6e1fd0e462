"""Files of named tensors, read lazily: shapes from the header, then one tensor at a time."""

from __future__ import annotations

import io
import math
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import MergeError, enough_memory, first_line, reading, shown
from ..escape import has_control
from .header import LONGEST_NAME, read_header

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The types an adapter may have, by their safetensors names."""

_scratch = threading.local()
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def _most_open() -> int:
    """Return how many files may stay open: a quarter of what the system allows, 256 at most."""
    try:
        import resource
    except ImportError:  # Windows, which allows 512 and more
        return 100
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 256 if soft == resource.RLIM_INFINITY else max(min(soft // 4, 256), 1)


_kept_open = threading.BoundedSemaphore(_most_open())
_seeking = threading.Lock()


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as the header describes it: type by its safetensors name, and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in a file."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@runtime_checkable
class TensorFile(Protocol):
    """Named tensors in one file.

    Attributes:
        path: The file.
        specs: Type and shape of every tensor.
    """

    path: Path
    specs: dict[str, TensorSpec]

    def read(self, name: str) -> Tensor:
        """Read the tensor in float32 (float64 stays), into memory of its own."""
        ...

    def read_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows of the tensor, likewise."""
        ...

    def stored_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows in the type of the file; they last until this thread reads again."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class SafetensorsFile:
    """A safetensors file.

    Tensors are read by position into a buffer kept per thread, rather than through a memory map,
    whose page faults cost as much as a merge's arithmetic.
    """

    def __init__(self, path: Path) -> None:
        """Read and check the header.

        Raises:
            MergeError: the file is truncated or not in safetensors format.
        """
        self.path = path
        with reading(path), path.open("rb") as file:
            self._entries = read_header(file, path)
            self._state = _state(os.fstat(file.fileno()))
        self.specs = {name: TensorSpec(e.dtype, e.shape) for name, e in self._entries.items()}
        self._handle: int | None = None
        self._opening = threading.Lock()

    def read(self, name: str) -> Tensor:
        """Read the tensor in float32 (float64 stays), into memory of its own.

        Raises:
            MergeError: the tensor is of a type no adapter has, or the file changed meanwhile.
        """
        entry = self._entries[name]
        if entry.dtype not in DTYPES:
            raise wrong_type(self.path, name, entry.dtype)
        if entry.begin == entry.end:
            return torch.zeros(entry.shape)
        view = _buffer(entry.end - entry.begin)
        with reading(self.path):
            self._read_into(view, entry.begin)
        stored = torch.frombuffer(view, dtype=DTYPES[entry.dtype]).view(entry.shape)
        return _working(stored)

    def read_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows of the tensor in float32 (float64 stays), into memory of its own."""
        return _working(self.stored_rows(name, begin, end))

    def stored_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows in the type of the file; they last until this thread reads again."""
        entry = self._entries[name]
        shape = (end - begin, *entry.shape[1:])
        row = (entry.end - entry.begin) // entry.shape[0]
        view = _buffer((end - begin) * row)
        with reading(self.path):
            self._read_into(view, entry.begin + begin * row)
        return torch.frombuffer(view, dtype=DTYPES[entry.dtype]).view(shape)

    def _read_into(self, view: memoryview, position: int) -> None:
        with self._open() as handle:
            done = 0
            while done < len(view) and (got := _read_at(handle, view[done:], position + done)):
                done += got
            changed = _state(os.fstat(handle)) != self._state
        if done < len(view) or changed:
            raise _changed(self.path)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """Yield a handle: one for all threads, or, where many files are open, for this read."""
        with self._opening:
            if self._handle is None and _kept_open.acquire(blocking=False):
                try:
                    self._handle = os.open(self.path, _READ)
                except BaseException:
                    _kept_open.release()
                    raise
            kept = self._handle
        if kept is not None:
            yield kept
            return
        handle = os.open(self.path, _READ)
        try:
            yield handle
        finally:
            os.close(handle)

    def close(self) -> None:
        """Release the file; the next read opens it again."""
        with self._opening:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
                _kept_open.release()


class TorchFile:
    """A .bin or .pt file written by torch.save, loaded as plain weights only."""

    def __init__(self, path: Path) -> None:
        """Load the file lazily (older, non-zip files whole).

        Raises:
            MergeError: the file holds anything but named tensors, or is damaged.
        """
        self.path = path
        with reading(path):
            self._state = _state(path.stat())
            packed = _check_stored(path)
        try:
            with reading(path), enough_memory():
                loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
        except MergeError:
            raise
        except Exception as error:
            raise MergeError(
                f"cannot be loaded as plain weights: {first_line(error)}",
                where=str(path),
                hint="download a damaged file again; a pickle with anything but tensors is "
                "refused, because loading it could run code: convert it to safetensors where "
                "you trust it",
            ) from None
        self._tensors = _state_dict(loaded, path)
        self.specs = {k: TensorSpec(_name_of(v.dtype), tuple(v.shape)) for k, v in loaded.items()}

    def read(self, name: str) -> Tensor:
        """Read the tensor in float32 (float64 stays), into memory of its own.

        Raises:
            MergeError: the tensor is of a type no adapter has, or the file changed meanwhile.
        """
        return _working(self._stored(name))

    def read_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows of the tensor in float32 (float64 stays), into memory of its own."""
        return _working(self._stored(name)[begin:end])

    def stored_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows in the type of the file."""
        return self._stored(name)[begin:end]

    def _stored(self, name: str) -> Tensor:
        stored = self._tensors[name].detach()
        if stored.dtype not in DTYPES.values():
            raise wrong_type(self.path, name, str(stored.dtype))
        with reading(self.path):
            if (
                _state(self.path.stat()) != self._state
            ):  # reading the map of a truncated file kills the process
                raise _changed(self.path)
        return stored

    def close(self) -> None:
        """Release the file."""
        self._tensors = {}


def _check_stored(path: Path) -> bool:
    """Return whether a file is an archive, as torch writes them: nothing in it is compressed.

    Raises:
        MergeError: it is damaged, or a part is compressed, which may unpack to any size.
    """
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            _check_parts(archive, path)
    except MergeError:
        raise
    except Exception as error:  # zipfile raises what it likes on a damaged archive
        raise MergeError(
            f"a damaged archive: {first_line(error)}",
            where=str(path),
            hint="download the file again, or save the adapter again",
        ) from None
    return True


def _check_parts(archive: zipfile.ZipFile, path: Path) -> None:
    parts, size = archive.infolist(), path.stat().st_size
    packed = [part for part in parts if part.compress_type != zipfile.ZIP_STORED]
    if packed or sum(part.file_size for part in parts) > size:
        raise MergeError(
            f"an archive of {size / 1e6:.1f} MB that unpacks to "
            f"{sum(part.file_size for part in parts) / 1e6:.1f} MB; torch compresses nothing",
            where=str(path),
            hint="do not trust it; or load it where you do, and save it as safetensors",
        )
    for part in parts:  # a part has two headers that must agree, of which a memory map reads one
        archive.open(part).close()


def open_tensors(path: Path) -> TensorFile:
    """Open a file of named tensors by its suffix."""
    return SafetensorsFile(path) if path.suffix == ".safetensors" else TorchFile(path)


def _read_at(handle: int, view: memoryview, position: int) -> int:
    """Read into memory from a position, as several threads do with one handle."""
    if hasattr(os, "preadv"):
        return os.preadv(handle, [view], position)
    with _seeking:
        file = io.FileIO(handle, closefd=False)
        file.seek(position)
        return file.readinto(view) or 0


def _working(stored: Tensor) -> Tensor:
    wanted = torch.float64 if stored.dtype == torch.float64 else torch.float32
    return stored.to(wanted, copy=True, memory_format=torch.contiguous_format)


def _buffer(size: int) -> memoryview:
    held: bytearray | None = getattr(_scratch, "buffer", None)
    if held is None or len(held) < size:
        held = _scratch.buffer = bytearray(size)
    return memoryview(held)[:size]


def _state(status: os.stat_result) -> tuple[int, int, int]:
    """Return numbers that change when a file is written to or replaced."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path) -> MergeError:
    return MergeError(
        "the file changed while it was read",
        where=str(path),
        hint="wait until whatever writes it is done, and merge again",
    )


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a loaded file, if it holds nothing else."""
    if isinstance(loaded, dict):
        bad = [k for k, v in loaded.items() if not _is_name(k) or not _is_plain(v)]
        if not bad:
            return loaded
        what = f"{shown(bad[0])} is {_kind(loaded[bad[0]])}"
    else:
        what = f"the whole is {_kind(loaded)}"
    raise MergeError(
        f"holds more than plain named tensors: {what}",
        where=str(path),
        hint="save the adapter's state dict alone, or better, save safetensors",
    )


def _is_name(key: object) -> bool:
    return isinstance(key, str) and len(key) <= LONGEST_NAME and not has_control(key)


def _is_plain(value: object) -> bool:
    """Return whether this is a dense tensor with all its entries in memory."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and not value.is_quantized
        # An expanded tensor is small in the file and unbounded in memory.
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of {value.dtype}, {value.layout}, on {value.device}"


def _name_of(dtype: torch.dtype) -> str:
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype))


def wrong_type(path: Path, name: str, dtype: str, parameter: str = "") -> MergeError:
    """Make the error for a tensor of a type that no adapter has.

    Args:
        path: The file.
        name: The tensor's name in it.
        dtype: Its type.
        parameter: For what may be a counter or a buffer, its name for `--leave-out`.
    """
    way = f"merging with --leave-out '{parameter}' does without it; or " if parameter else ""
    return MergeError(
        f"tensor of type {dtype}",
        where=f"{path}  {name}",
        hint=f"{way}adapters are merged in {', '.join(DTYPES)}; convert the file first",
    )
