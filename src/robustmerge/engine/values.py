"""Read single values of a recipe, whether they come from YAML, Python or the command line.

A reader takes the value's name for messages and the value, and returns the value in its type.
Nothing here imports torch, so that the command line can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import MergeError, shown, unknown
from ..scale_rules import scale_rules

Parameters = Mapping[str, Any]

_LARGEST = 1e38  # float32 holds 3.4e38; a factor near it overflows in the first product
_LONGEST_RANK = 2**31
_MOST = 2**64
"""No seed, size or count is larger; Python's whole numbers have no end."""
_WORDS = {str: "text", int: "a whole number", bool: "true or false"}


def read_plain(name: str, value: object, *types: type) -> object:
    """Return a value of one of these types; true and false are no numbers."""
    if (isinstance(value, bool) and bool not in types) or not isinstance(value, types):
        raise MergeError(
            f"{name} = {shown(value)} is not {' or '.join(_WORDS[kind] for kind in types)}",
            hint=f"fix the value of {name}, or leave it out",
        )
    if isinstance(value, int) and abs(value) > _MOST:
        raise MergeError(
            f"{name} has {len(f'{abs(value):x}')} hexadecimal digits, more than any size or seed",
            hint=f"fix the value of {name}, or leave it out",
        )
    return value


def read_rank(name: str, value: object) -> int | str:
    """Return a rank: input, full, a number from 1, or energy:SHARE."""
    read_plain(name, value, int, str)
    text = str(value)
    try:
        possible = (
            text in ("input", "full")
            or (text.startswith("energy:") and 0 < float(text.removeprefix("energy:")) <= 1)
            or 1 <= int(text) <= _LONGEST_RANK
        )
    except ValueError:
        possible = False
    if not possible:
        raise MergeError(
            f"{name} = {shown(value)} is not possible",
            hint="it is input, full, a number from 1, or energy:SHARE such as energy:0.99",
        )
    assert isinstance(value, int | str)
    return value


def read_number(name: str, value: object) -> float:
    """Return a finite number."""
    if not _is_number(value) or not abs(value) < _LARGEST:  # type: ignore[arg-type]
        raise MergeError(
            f"{name} = {shown(value)} is not a finite number", hint="give a number such as 0.5"
        )
    return float(value)  # type: ignore[arg-type]  # a number, as was checked


def read_numbers(name: str, value: object) -> tuple[float, ...]:
    """Return a list of finite numbers as a tuple."""
    if not isinstance(value, list | tuple) or not all(_is_number(v) for v in value):
        raise MergeError(
            f"{name} = {shown(value)} is not a list of numbers",
            hint="weights: [1, 1, 0.5], one number per adapter",
        )
    return tuple(read_number(name, v) for v in value)


def read_scale(name: str, value: object) -> float | str:
    """Return a number, or the name of a scale rule."""
    if not isinstance(value, str):
        return read_number(name, value)
    rules = [rule.name for rule in scale_rules()]
    if value not in rules:
        raise MergeError(
            f"{name} = {shown(value)} is neither a number nor a rule",
            hint=f"a number such as 0.5, or one of {', '.join(rules)}",
        )
    return value


def read_steps(name: str, value: object) -> tuple[str, ...]:
    """Return a step such as `norms:exponent=0.5`, or a list of steps, as a tuple."""
    steps = [value] if isinstance(value, str) else value
    if not isinstance(steps, list | tuple) or not all(isinstance(s, str) for s in steps):
        raise MergeError(
            f"{name} = {shown(value)} is not a list of steps",
            hint=f"{name}: [name, 'name:parameter=value,parameter=value']",
        )
    return tuple(steps)


def read_names(name: str, value: object) -> tuple[str, ...]:
    """Return a name or pattern, or a list of them, as a tuple."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise MergeError(f"{name} = {shown(value)} is not a list of names", hint=f"{name}: [a, b]")
    return tuple(names)


def read_path(name: str, value: object) -> str:
    """Return a folder, file or Hub id as text."""
    return str(read_plain(name, str(value) if isinstance(value, Path) else value, str))


def read_paths(name: str, value: object) -> tuple[str, ...]:
    """Return a list of folders, files or Hub ids as a tuple of texts."""
    if not isinstance(value, list | tuple) or not all(isinstance(v, str | Path) for v in value):
        kinds = "folders or Hub ids" if name == "adapters" else "files"
        raise MergeError(f"{name} must be a list of {kinds}", hint=f"{name}: [a, b]")
    return tuple(map(str, value))


def read_parameters(name: str, value: object) -> Parameters:
    """Return a table of the method's parameters, each of them a single value."""
    for key, setting in check_table(name, value).items():
        if isinstance(setting, Mapping | list | tuple | set):
            raise MergeError(
                f"{key} = {shown(setting)} is not a single value",
                hint="a parameter is a number, a word, true or false",
            )
    return MappingProxyType(dict(check_table(name, value)))


def check_table(name: str, value: object, where: str = "") -> Mapping[str, Any]:
    """Return a table whose keys are text."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise MergeError(
            f"{name} must be a table of names and values", where=where, hint="name: value"
        )
    return value


def check_keys(kind: str, table: Mapping[str, object], known: set[str]) -> None:
    """Check that a table has no other keys than these; the error suggests the nearest."""
    for name in table:
        if name not in known:
            raise unknown(f"key of a {kind}", name, known)


def check_weights(name: str, weights: tuple[float, ...] | None, adapters: int) -> None:
    """Check that there is one weight per adapter, if there are any."""
    if weights is not None and len(weights) != adapters:
        raise MergeError(
            f"{len(weights)} {name} for {adapters} adapters",
            hint="give one weight per adapter, in their order",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
