"""Files that a user writes: plain YAML, whose paths are relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import MergeError, first_line, reading
from ..files import NO_UTF8, check_size, expand_user
from .values import check_table


class _OnceLoader(yaml.SafeLoader):
    """Plain YAML, in which a key stands once in its table."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice; the last one would win in silence."""
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r:.80} occurs twice", key.start_mark
                )
            seen |= {name} - {None}
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """Read the names and values in a file.

    Args:
        path: The file.
        kind: What it is in messages, such as recipe.

    Raises:
        MergeError: an unreadable file, or one that is not a YAML table of names and values
    """
    try:
        with reading(path):
            check_size(path)
            content = yaml.load(path.read_text(encoding="utf-8-sig"), _OnceLoader)
    except MergeError:
        raise
    except UnicodeDecodeError:
        raise MergeError(
            f"cannot read the {kind}: not UTF-8 text", where=str(path), hint=NO_UTF8
        ) from None
    except Exception as error:  # the parser passes on what dates, numbers and depth do to it
        raise MergeError(
            f"cannot read the {kind}: {_reason(error)}",
            where=str(path),
            hint=f"a {kind} is plain YAML: names and values, indented by spaces",
        ) from None
    return dict(check_table(f"the {kind}", content, str(path)))


def relative_to(file: Path, source: str) -> str:
    """Resolve a path that is written in a file from that file's folder.

    What is not a path there and may be a Hub id stays as it is.
    """
    path = file.parent / expand_user(source)
    with reading(path):
        return str(path) if path.exists() or source.startswith((".", "/", "~")) else source


def _reason(error: Exception) -> str:
    """Describe what is wrong in a YAML file, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    problem = getattr(error, "problem", None) or first_line(error)
    mark = getattr(error, "problem_mark", None)
    position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{problem}{position}"
