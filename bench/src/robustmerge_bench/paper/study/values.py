"""Checks of the lists in a study file, next to those of tables in `robustmerge.engine.values`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from robustmerge.errors import MergeError, few, shown, unknown


def check_list(
    name: str, value: object, hint: str, *, of: str = "", empty: bool = False
) -> list[Any]:
    """Return a list, which may only be `empty` where that is said; `of` is a word for its items."""
    if not isinstance(value, list) or not (value or empty):
        items = f" of {of}" if of else ""
        raise MergeError(f"{name} = {shown(value)} is not a list{items}", hint=hint)
    return value


def check_known(kind: str, names: Iterable[object], known: Iterable[str], where: str = "") -> None:
    """Check that all names are known; the error suggests the nearest."""
    choices = set(known)
    for name in names:
        if not isinstance(name, str) or name not in choices:
            raise unknown(kind, str(name), choices, where=where)


def check_once(names: Iterable[str], problem: str, hint: str) -> None:
    """Check that no name is in a list twice; `problem` has {} for those that are."""
    names = list(names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MergeError(problem.format(few(twice)), hint=hint)
