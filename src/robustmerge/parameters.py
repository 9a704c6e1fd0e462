"""One parameter of a method, as its signature declares it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval
from docstring_parser import parse as parse_docstring

from .errors import MergeError, shown, unknown

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


@dataclass(frozen=True)
class Parameter:
    """A named value with a type, a default and bounds."""

    name: str
    type: type
    default: Any
    bounds: Interval | None
    choices: tuple[str, ...]
    doc: str

    @classmethod
    def of(cls, name: str, hint: Any, default: Any, doc: str) -> Parameter:
        """Read one parameter of a signature; int, float, bool and Literal of strings are known."""
        bounds = None
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            bounds = next((e for e in extras if isinstance(e, Interval)), None)
        if get_origin(hint) is Literal:
            return cls(name, str, default, None, get_args(hint), doc)
        if hint not in (int, float, bool):
            raise TypeError(f"parameter {name}: cannot be configured as {hint!r}")
        return cls(name, hint, default, bounds, (), doc)

    @property
    def domain(self) -> str:
        """The admissible values in words."""
        if self.choices:
            return " | ".join(self.choices)
        if self.type is bool:
            return "true | false"
        return f"{self.type.__name__} {self._interval()}".strip()

    def check(self, value: Any, of: str) -> Any:
        """Return the value in this parameter's type; strings are parsed.

        Raises:
            MergeError: a value of another type, or out of bounds.
        """
        where = f"parameter {self.name} of {of}"
        if self.choices:
            if value not in self.choices:
                raise unknown(f"value of {self.name}", str(value), self.choices, where=where)
            return value
        parsed = self._boolean(value) if self.type is bool else self._number(value)
        if parsed is None:
            raise MergeError(
                f"{self.name} = {shown(value)} is not possible",
                where=where,
                hint=f"it is {self.domain}",
            )
        return parsed

    def _boolean(self, value: Any) -> bool | None:
        word = str(value).lower()
        return True if word in _TRUE else False if word in _FALSE else None

    def _number(self, value: Any) -> int | float | None:
        """Return the value as a number of this type within the bounds; None if it is none."""
        if isinstance(value, bool):
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if not math.isfinite(number) or not self._within(number):
            return None
        if self.type is float:
            return number
        return int(number) if number == int(number) else None

    def _within(self, value: float) -> bool:
        b = self.bounds
        return b is None or (
            (b.gt is None or value > b.gt)  # type: ignore[operator]  # bounds are numbers here
            and (b.ge is None or value >= b.ge)  # type: ignore[operator]
            and (b.lt is None or value < b.lt)  # type: ignore[operator]
            and (b.le is None or value <= b.le)  # type: ignore[operator]
        )

    def _interval(self) -> str:
        b = self.bounds
        if b is None:
            return ""
        low = f"> {b.gt}" if b.gt is not None else f">= {b.ge}" if b.ge is not None else ""
        high = f"< {b.lt}" if b.lt is not None else f"<= {b.le}" if b.le is not None else ""
        return " and ".join(part for part in (low, high) if part)


def read_signature(function: Callable[..., Any], *internal: str) -> dict[str, Parameter]:
    """Return the keyword-only parameters of a function, without `surveyed` and `internal` ones."""
    hints = get_type_hints(function, include_extras=True)
    described = {p.arg_name: p.description for p in parse_docstring(function.__doc__ or "").params}
    return {
        name: Parameter.of(name, hints[name], p.default, described.get(name) or "")
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name not in ("surveyed", *internal)
    }


def read_settings(texts: Iterable[str], *, where: str = "", hint: str = "") -> dict[str, str]:
    """Return the parameters in texts such as density=0.3; dashes in names become underscores.

    Args:
        texts: One setting each.
        where: The option that has the texts, for the error.
        hint: An example, for the error.

    Raises:
        MergeError: a text that is not name=value.
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise MergeError(f"{text!r} is not name=value", where=where, hint=hint)
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings


def configure(
    parameters: Mapping[str, Parameter], settings: Mapping[str, Any], of: str, *, where: str = ""
) -> dict[str, Any]:
    """Return all parameters with their values, the given ones validated.

    Raises:
        MergeError: unknown parameter, or a value out of its bounds.
    """
    for name in settings:
        if name not in parameters:
            raise unknown(f"parameter of {of}", name, parameters, where=where)
    return {
        name: parameter.check(settings[name], of) if name in settings else parameter.default
        for name, parameter in parameters.items()
    }
