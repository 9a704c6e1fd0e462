"""Files that a user writes: plain YAML, whose paths are seen from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import MergeError, first_line, reading
from ..files import expand_user
from .values import check_table


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """The names and values in a file.

    Args:
        path: The file.
        kind: What it is in messages, such as recipe.

    Raises:
        MergeError: It cannot be read, is not YAML, or no table of names and values.
    """
    try:
        with reading(path):
            content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except MergeError:
        raise
    except Exception as error:  # the parser passes on what dates, numbers and depth do to it
        raise MergeError(
            f"cannot read the {kind}: {_reason(error)}",
            where=str(path),
            hint=f"a {kind} is plain YAML: names and values, indented by spaces",
        ) from None
    check_table(f"the {kind}", content, str(path))
    return dict(content)


def beside(file: Path, source: str) -> str:
    """A path in a file, seen from the file; what may be a Hub id and is no path there stays."""
    path = file.parent / expand_user(source)
    with reading(path):
        return str(path) if path.exists() or source.startswith((".", "/", "~")) else source


def _reason(error: Exception) -> str:
    """What is wrong in a YAML file, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    problem = getattr(error, "problem", None) or first_line(error)
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{problem}{place}"
