"""Files of results: JSON with a format number."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from robustmerge.errors import MergeError, reading

T = TypeVar("T")


def read_stored(
    path: Path, build: Callable[[Mapping[str, Any]], T], *, kind: str, format: int, hint: str
) -> T:
    """Read a file of a result, of this format number only; `kind` and `hint` are for its error."""
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        number = content["format"]
        result = build(content) if number == format else None
        problem = f"its format is {number!r:.20}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        result, problem = None, f"{error!r:.200}"
    if result is None:
        raise MergeError(f"not a {kind} of format {format}: {problem}", where=str(path), hint=hint)
    return result
