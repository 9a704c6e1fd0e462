"""Checks of the values in a recipe, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from ..adapter.align import Missing
from ..errors import MergeError, shown, unknown
from ..scale_rules import scale_rules

Extras = Literal["mean", "sum"]
Where = Literal["adapter", "beside"]
Dora = Literal["refuse", "mean"]
Over = Literal["model", "module"]
Parameters = Mapping[str, Any]

_CHOICES = {
    "dtype": ("float32", "float16", "bfloat16"),
    "missing": get_args(Missing),
    "extras": get_args(Extras),
    "extras_in": get_args(Where),
    "dora": get_args(Dora),
    "scale_over": get_args(Over),
}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        (
            "method",
            "dtype",
            "missing",
            "base",
            "layout",
            "extras",
            "extras_in",
            "dora",
            "scale_over",
            "data",
        ),
        str,
    ),
    "rank": (int, str),
    "seed": int,
    "same_base": bool,
}
_LARGEST = 1e38  # what float32 holds


def check_types(values: Mapping[str, Any]) -> None:
    """Check that every setting has a value of its kind.

    Raises:
        MergeError: One has not.
    """
    for name, kind in _TYPES.items():
        value = values.get(name)
        if name in values and (not isinstance(value, kind) or _is_flag(value, kind)):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            words = {str: "text", int: "a whole number", bool: "true or false"}
            raise MergeError(
                f"{name} = {shown(value)} is not {' or '.join(words[k] for k in kinds)}",
                hint=f"mend the value of {name}, or leave it out",
            )


def check_choices(values: Mapping[str, Any]) -> None:
    """Check the settings that are one of a few words.

    Raises:
        MergeError: One is another word.
    """
    for name, known in _CHOICES.items():
        value = values.get(name)
        if value is not None and value not in known:
            raise unknown(name, str(value), known)


def check_rank(rank: int | str) -> None:
    """Check the words a rank may be given in.

    Raises:
        MergeError: It is none of them.
    """
    text = str(rank)
    try:
        ok = (
            text in ("input", "full")
            or (text.startswith("energy:") and 0 < float(text.removeprefix("energy:")) <= 1)
            or (not isinstance(rank, bool) and int(text) >= 1)
        )
    except ValueError:
        ok = False
    if not ok:
        raise MergeError(
            f"rank = {shown(rank)} is not possible",
            hint="it is input, full, a number from 1, or energy:SHARE such as energy:0.99",
        )


def check_weights(what: str, weights: tuple[float, ...] | None, n: int) -> None:
    """Check that there is one finite weight per adapter, if any.

    Raises:
        MergeError: There is not.
    """
    if weights is None:
        return
    if len(weights) != n:
        raise MergeError(
            f"{len(weights)} {what} for {n} adapters",
            hint="give one weight per adapter, in their order",
        )
    for weight in weights:
        check_finite(what, weight)


def check_finite(what: str, value: object) -> None:
    """Check a number.

    Raises:
        MergeError: It is none, or NaN, or infinite, or near to it.
    """
    if not _is_number(value) or not abs(value) < _LARGEST:  # type: ignore[arg-type]
        raise MergeError(
            f"{what} = {shown(value)} is not a finite number", hint="give a number such as 0.5"
        )


def check_scale(what: str, value: object) -> None:
    """Check a number, or the name of a scale rule.

    Raises:
        MergeError: It is neither.
    """
    rules = [rule.name for rule in scale_rules()]
    if isinstance(value, str) and value not in rules:
        raise MergeError(
            f"{what} = {shown(value)} is neither a number nor a rule",
            hint=f"a number such as 0.5, or one of {', '.join(rules)}",
        )
    if not isinstance(value, str):
        check_finite(what, value)


def check_table(what: str, value: object, where: str = "") -> None:
    """Check that this is a table whose keys are text.

    Raises:
        MergeError: It is not.
    """
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise MergeError(
            f"{what} must be a table of names and values", where=where, hint="name: value"
        )


def check_keys(kind: str, given: Mapping[str, object], known: set[str]) -> None:
    """Check that a table has no keys but these.

    Raises:
        MergeError: It has; the nearest is suggested.
    """
    for name in given:
        if name not in known:
            raise unknown(f"key of a {kind}", name, known)


def names(what: str, value: object) -> tuple[str, ...]:
    """A list of folders, files and ids.

    Raises:
        MergeError: It is something else.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(v, str | Path) for v in value):
        kinds = "folders or Hub ids" if what == "adapters" else "files"
        raise MergeError(f"{what} must be a list of {kinds}", hint=f"{what}: [a, b]")
    return tuple(str(v) for v in value)


def numbers(value: object) -> tuple[float, ...]:
    """A list of finite numbers.

    Raises:
        MergeError: It is something else.
    """
    if not isinstance(value, list | tuple) or not all(_is_number(v) for v in value):
        raise MergeError(
            f"weights = {shown(value)} is not a list of numbers",
            hint="weights: [1, 1, 0.5], one number per adapter",
        )
    return tuple(number("weights", v) for v in value)


def number(what: str, value: object) -> float:
    """A finite number.

    Raises:
        MergeError: It is something else.
    """
    check_finite(what, value)
    return float(value)  # type: ignore[arg-type]  # it was checked


def scale(what: str, value: object) -> float | str:
    """A number, or the name of a scale rule.

    Raises:
        MergeError: It is something else.
    """
    check_scale(what, value)
    return value if isinstance(value, str) else number(what, value)


def step_list(stage: str, value: object) -> tuple[str, ...]:
    """A step such as `norms:exponent=0.5`, or a list of steps.

    Raises:
        MergeError: It is something else.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(s, str) for s in found):
        raise MergeError(
            f"{stage} = {shown(value)} is not a list of steps",
            hint=f"{stage}: [name, 'name:parameter=value,parameter=value']",
        )
    return tuple(found)


def single_values(value: object) -> Parameters:
    """A table of parameters.

    Raises:
        MergeError: It is something else, or a value is no single one.
    """
    check_table("parameters", value)
    assert isinstance(value, Mapping)
    for name, setting in value.items():
        if isinstance(setting, Mapping | list | tuple | set):
            raise MergeError(
                f"{name} = {shown(setting)} is not a single value",
                hint="a parameter is a number, a word, true or false",
            )
    return MappingProxyType(dict(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flag(value: object, kind: object) -> bool:
    """Whether this is true or false where a number is asked for."""
    return isinstance(value, bool) and kind is not bool
