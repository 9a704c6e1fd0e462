"""The header of a safetensors file: every tensor's type, shape and byte range.

Nothing is taken on trust: files that the format's own library refuses are refused here too, and no
value in the header makes this code reserve memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import MergeError
from ..escape import has_control

_BITS: Mapping[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8"), 8),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of one element, for every type of the format."""

_KEYS = {"dtype", "shape", "data_offsets"}
_LONGEST_HEADER = 100_000_000  # bytes, as in the format's own library
LONGEST_NAME = 1000  # characters; no model comes near
_MOST_AXES = 64  # torch makes no tensor of more


@dataclass(frozen=True)
class HeaderEntry:
    """One tensor in the header; `begin` and `end` count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, path: Path) -> dict[str, HeaderEntry]:
    """Read and check the header of an open file.

    Raises:
        MergeError: The file is truncated, damaged, or not in safetensors format.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        return _entries(file, size)
    except (ValueError, TypeError, RecursionError) as error:
        raise MergeError(
            f"not a whole safetensors file: {error}",
            where=str(path),
            hint="download or copy the file again",
        ) from None


def _entries(file: BinaryIO, size: int) -> dict[str, HeaderEntry]:
    if size < 8:
        raise ValueError(f"it has only {size} bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _LONGEST_HEADER):
        raise ValueError(f"it announces a header of {length} bytes and has {size} bytes in all")
    header = _parse(file.read(length))
    entries = {name: _entry(name, value, 8 + length) for name, value in header.items()}
    position = 8 + length
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            raise ValueError(
                f"{name} begins at byte {entry.begin}, the tensor before it ends at {position}"
            )
        position = entry.end
    if position != size:
        raise ValueError(f"its tensors end at byte {position}, the file at {size}")
    return entries


def _parse(text: bytes) -> dict[str, Any]:
    header = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_int=_natural)
    if not isinstance(header, dict):
        raise TypeError("the header is not an object")
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise TypeError("__metadata__ is not a table of strings")
    "".join([*header, *metadata, *metadata.values()]).encode()  # no lone surrogates
    if has_control(list(header)):
        raise ValueError("a tensor has control characters in its name")
    if (longest := max(map(len, header), default=0)) > LONGEST_NAME:
        raise ValueError(f"a tensor has a name of {longest} characters")
    return header


def _entry(name: str, value: object, start: int) -> HeaderEntry:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise ValueError(f"the entry of {name} is not a type, a shape and offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"{name} is of the unknown type {dtype!r:.40}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise ValueError(f"{name} has the shape {shape!r:.80} and the offsets {offsets!r:.80}")
    if len(shape) > _MOST_AXES or math.prod(max(n, 1) for n in shape) >= 2**63:
        raise ValueError(f"{name} has the impossible shape {shape!r:.80}")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise ValueError(f"{name} is {dtype} {shape!r:.80} but has {end - begin} bytes")
    return HeaderEntry(dtype, tuple(shape), start + begin, start + end)


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int for n in value)


def _natural(text: str) -> int:
    """Parse a number of the format: without a sign, and of no more digits than 2^64."""
    if text.startswith("-") or len(text) > 20:
        raise ValueError(f"{text[:24]} is no size")
    return int(text)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice in the header")
    return table
