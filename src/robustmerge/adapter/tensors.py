"""Files of named tensors, read lazily: shapes from the header, then one tensor at a time."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from ..errors import MergeError

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The types an adapter may have, by their safetensors names."""

_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8": 8, "F4": 4, "F6": 6, "E8": 8, "C6": 64}
_HEADER_LIMIT = 100_000_000
_scratch = threading.local()


@dataclass(frozen=True)
class Spec:
    """A tensor as the header describes it: type by its safetensors name, and shape."""

    dtype: str
    shape: tuple[int, ...]


class TensorFile(Protocol):
    """Named tensors in one file.

    Attributes:
        path: The file.
        specs: Type and shape of every tensor.
    """

    path: Path
    specs: dict[str, Spec]

    def read(self, name: str) -> Tensor:
        """The tensor in float32 (float64 stays), in memory of its own."""
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
            MergeError: The file is truncated or is not in safetensors format.
        """
        self.path = path
        with path.open("rb") as file:
            self._start, self.specs, self._offsets = _read_header(file, path)
        self._handles = threading.local()

    def read(self, name: str) -> Tensor:
        """The tensor in float32 (float64 stays), in memory of its own.

        Raises:
            MergeError: It is of a type no adapter has, or the file was cut since it was opened.
        """
        spec = self.specs[name]
        if spec.dtype not in DTYPES:
            raise _wrong_type(self.path, name, spec.dtype)
        begin, end = self._offsets[name]
        if begin == end:
            return torch.zeros(spec.shape)
        view = _buffer(end - begin)
        self._read_into(view, self._start + begin, name)
        stored = torch.frombuffer(view, dtype=DTYPES[spec.dtype]).view(spec.shape)
        return _working(stored)

    def _read_into(self, view: memoryview, position: int, name: str) -> None:
        file: io.FileIO | None = getattr(self._handles, "file", None)
        if file is None:
            file = self._handles.file = io.FileIO(self.path)
        file.seek(position)
        done = 0
        while done < len(view):
            got = file.readinto(view[done:])
            if not got:
                raise MergeError(
                    "the file was truncated while it was read",
                    where=f"{self.path}  {name}",
                    hint="fetch or copy the file again",
                )
            done += got

    def close(self) -> None:
        """Release the file; a thread's own handle goes with the thread."""
        self._handles = threading.local()


class TorchFile:
    """A .bin or .pt file written by torch.save, loaded as plain weights only."""

    def __init__(self, path: Path) -> None:
        """Load the file lazily (older, non-zip files whole).

        Raises:
            MergeError: The file holds anything but named tensors, or is damaged.
        """
        self.path = path
        try:
            loaded = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise MergeError(
                "cannot be loaded as plain weights: " + (reason[0] if reason else repr(error)),
                where=str(path),
                hint="a damaged file must be fetched again; a pickle with anything but tensors is "
                "refused, because loading it could run code: convert it to safetensors where "
                "you trust it",
            ) from None
        if not _is_state_dict(loaded):
            raise MergeError(
                f"holds a {type(loaded).__name__}, not a dictionary of named tensors",
                where=str(path),
                hint="save the adapter's state dict, or better, save safetensors",
            )
        self._tensors: dict[str, Tensor] = loaded
        self.specs = {k: Spec(_name_of(v.dtype), tuple(v.shape)) for k, v in loaded.items()}

    def read(self, name: str) -> Tensor:
        """The tensor in float32 (float64 stays), in memory of its own."""
        stored = self._tensors[name].detach()
        if stored.dtype not in DTYPES.values():
            raise _wrong_type(self.path, name, str(stored.dtype))
        return _working(stored)

    def close(self) -> None:
        """Release the file."""
        self._tensors = {}


def open_tensors(path: Path) -> TensorFile:
    """Open a file of named tensors by its suffix."""
    return SafetensorsFile(path) if path.suffix == ".safetensors" else TorchFile(path)


def sha256(path: Path) -> str:
    """Hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _working(stored: Tensor) -> Tensor:
    wanted = torch.float64 if stored.dtype == torch.float64 else torch.float32
    return stored.to(wanted, copy=True, memory_format=torch.contiguous_format)


def _buffer(size: int) -> memoryview:
    held: bytearray | None = getattr(_scratch, "buffer", None)
    if held is None or len(held) < size:
        held = _scratch.buffer = bytearray(size)
    return memoryview(held)[:size]


def _read_header(
    file: BinaryIO, path: Path
) -> tuple[int, dict[str, Spec], dict[str, tuple[int, int]]]:
    """Where the data begin, and every tensor's spec and byte range."""
    size = os.fstat(file.fileno()).st_size

    def damaged(problem: str) -> MergeError:
        return MergeError(problem, where=str(path), hint="fetch or copy the file again")

    if size < 8:
        raise damaged(f"not a safetensors file: it has only {size} bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _HEADER_LIMIT):
        raise damaged(
            f"not a safetensors file, or truncated: it announces a header of {length} bytes and "
            f"has {size} bytes in all"
        )
    try:
        header = json.loads(file.read(length), object_pairs_hook=_no_duplicates)
        header.pop("__metadata__", None)
        entries = {name: _entry(name, value) for name, value in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(f"the safetensors header is damaged: {error}") from None
    data = size - 8 - length
    position = 0
    for name, (_, (begin, end)) in sorted(entries.items(), key=lambda item: item[1][1]):
        if begin != position:
            raise damaged(
                f"the safetensors header is damaged: {name} begins at {begin}, "
                f"the tensor before it ends at {position}"
            )
        position = end
    if position != data:
        raise damaged(
            f"truncated or damaged: the header announces {position} bytes of tensors, "
            f"the file has {data}"
        )
    return (
        8 + length,
        {k: s for k, (s, _) in entries.items()},
        {k: o for k, (_, o) in entries.items()},
    )


def _entry(name: str, value: dict[str, Any]) -> tuple[Spec, tuple[int, int]]:
    dtype, shape, offsets = value["dtype"], tuple(value["shape"]), tuple(value["data_offsets"])
    begin, end = offsets
    if not isinstance(dtype, str) or not all(type(n) is int and n >= 0 for n in (*shape, *offsets)):
        raise ValueError(f"bad entry for {name}")
    bits = math.prod(shape) * _bits(dtype)
    if (end - begin) * 8 != bits:
        raise ValueError(f"{name} is {dtype} {list(shape)} but has {end - begin} bytes")
    return Spec(dtype, shape), (begin, end)


def _bits(dtype: str) -> int:
    """Bits of one element, from the name of its type."""
    if dtype in DTYPES:
        return DTYPES[dtype].itemsize * 8
    if dtype in _BITS:
        return _BITS[dtype]
    if dtype[:2] in _BITS:
        return _BITS[dtype[:2]]
    if dtype[:1] in "IU" and dtype[1:] in ("8", "16", "32", "64"):
        return int(dtype[1:])
    raise ValueError(f"unknown type {dtype}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _is_state_dict(loaded: object) -> bool:
    return isinstance(loaded, dict) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()
    )


def _name_of(dtype: torch.dtype) -> str:
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype))


def _wrong_type(path: Path, name: str, dtype: str) -> MergeError:
    return MergeError(
        f"tensor of type {dtype}",
        where=f"{path}  {name}",
        hint=f"adapters are merged in {', '.join(DTYPES)}; convert the file first",
    )
