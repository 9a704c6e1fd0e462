"""The raw results on disk: one JSON file, a line for every model, so that a change can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, reading

FORMAT = 1
_COMPACT = 3  # levels of a value that still go on one line


def write(results: dict[str, Any], path: Path) -> None:
    """Write them; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = dumps({"format": FORMAT, **results})
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read them.

    Raises:
        MergeError: the file is missing, damaged, or of another version.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        data: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if data.get("format") != FORMAT:
        raise _damaged(path, f"format {data.get('format')} rather than {FORMAT}")
    return data


def _damaged(path: Path, why: str) -> MergeError:
    return MergeError(
        f"not raw results of this benchmark: {why}",
        where=str(path),
        hint="make them again: bench/documents/minibench.py ROOT",
    )


def dumps(value: Any, indent: str = "") -> str:
    """JSON in which only the outer levels are broken into lines."""
    inner = indent + " "
    if _height(value) <= _COMPACT:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(k)}: {dumps(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + dumps(v, inner) for v in value) + f"\n{indent}]"


def _height(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_height, value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max(map(_height, value), default=0)
    return 0
