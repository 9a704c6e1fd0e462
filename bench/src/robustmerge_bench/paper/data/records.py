"""JSON files of many records: one list, or one object a line; every record has its location."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, reading, shown


@dataclass(frozen=True)
class JsonRecord:
    """One record of a file.

    Attributes:
        where: The file and the record's location in it, for messages.
    """

    where: str
    content: Mapping[str, Any]


def read_records(path: Path) -> list[JsonRecord]:
    """Read all records of a file that is a JSON list of objects, or JSON lines."""
    with reading(path):
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise MergeError(
            "the file is empty", where=str(path), hint="it was never filled, or is cut off"
        )
    return list(
        _read_list(path, text) if text.lstrip().startswith("[") else _read_lines(path, text)
    )


def _read_list(path: Path, text: str) -> Iterator[JsonRecord]:
    for number, content in enumerate(_parse(text, str(path)), 1):
        yield _record(content, f"{path}, record {number}")


def _read_lines(path: Path, text: str) -> Iterator[JsonRecord]:
    # Not splitlines: a text may hold separators that are no ends of lines in JSON.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            yield _record(_parse(line, where), where)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MergeError(
            f"not JSON: {error}",
            where=where,
            hint="a JSON list of objects, or one object a line; the file may be cut off",
        ) from None


def _record(content: Any, where: str) -> JsonRecord:
    if isinstance(content, dict):
        return JsonRecord(where, content)
    raise MergeError(
        f"{shown(content)} is not an object",
        where=where,
        hint="a JSON list of objects, or one object a line",
    )
