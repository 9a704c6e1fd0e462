"""What a merge method is: a pure function over one module's stack, and its signature.

Everything keyword-only after `stack` is configuration: the command line, recipes, validation and
the documentation are read from the signature and the docstring, so that a default is written once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, get_type_hints

from annotated_types import Interval
from docstring_parser import parse as parse_docstring

from ..errors import MergeError, unknown
from ..factors import Result, Stack
from ._parameters import Parameter

Density = Annotated[float, Interval(gt=0, le=1)]
"""Share of entries that is kept."""

Quantile = Annotated[float, Interval(ge=0, lt=1)]
"""A position in a sorted list, as a share of its length."""

Stacks = Callable[[], "object"]
"""A pass over all modules: call it for a fresh iterator of stacks."""

F = TypeVar("F", bound=Callable[..., Result])


@dataclass(frozen=True)
class Method:
    """A registered merge method.

    Attributes:
        name: What the user types.
        function: (stack, *, parameters) -> Factors, Dense or Noted.
        paper: Where it comes from, one line.
        gauge_invariant: The result depends on each delta only, not on how it is split in B and A.
            A tuple of (parameter, value) pairs names the settings under which that holds.
        stochastic: Takes `seed`.
        order_invariant: The order of the adapters does not matter.
        survey: An optional first pass over all modules; its result is passed as `surveyed`.
        checked: What the implementation was compared with.
    """

    name: str
    function: Callable[..., Result]
    paper: str
    gauge_invariant: bool | tuple[tuple[str, object], ...]
    stochastic: bool
    order_invariant: bool
    survey: Callable[..., object] | None
    checked: str
    parameters: Mapping[str, Parameter] = field(repr=False)

    @property
    def doc(self) -> str:
        """The method's page: formula, meaning, source."""
        return inspect.cleandoc(sys.modules[self.function.__module__].__doc__ or "")

    @property
    def summary(self) -> str:
        """First line of the page."""
        return self.doc.splitlines()[0]

    def configure(self, given: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
        """All parameters with their values, the given ones validated.

        Raises:
            MergeError: An unknown parameter, or a value out of its bounds.
        """
        for name in given:
            if name not in self.parameters:
                raise unknown(
                    f"parameter of method {self.name!r}", name, self.parameters, where=where
                )
        return {
            name: parameter.check(given[name], self.name) if name in given else parameter.default
            for name, parameter in self.parameters.items()
        }

    def __call__(self, stack: Stack, **parameters: Any) -> Result:
        """Merge one module."""
        return self.function(stack, **parameters)


_METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    paper: str,
    gauge_invariant: bool | tuple[tuple[str, object], ...],
    checked: str,
    order_invariant: bool = True,
    survey: Callable[..., object] | None = None,
) -> Callable[[F], F]:
    """Register a function as the merge method `name`.

    A method is stochastic when it takes a parameter `seed`.
    """

    def register(function: F) -> F:
        if name in _METHODS and _METHODS[name].function.__module__ != function.__module__:
            raise MergeError(
                f"two methods are called {name!r}",
                where=f"{_METHODS[name].function.__module__}\n{function.__module__}",
                hint="rename one of them",
            )
        parameters = _parameters(function)
        _METHODS[name] = Method(
            name=name,
            function=function,
            paper=paper,
            gauge_invariant=gauge_invariant,
            stochastic="seed" in parameters,
            order_invariant=order_invariant,
            survey=survey,
            checked=checked,
            parameters=parameters,
        )
        return function

    return register


def get(name: str) -> Method:
    """The method of this name.

    Raises:
        MergeError: There is none; the nearest name is suggested.
    """
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    return _METHODS[name]


def every() -> tuple[Method, ...]:
    """All registered methods, by name."""
    return tuple(_METHODS[name] for name in sorted(_METHODS))


def _parameters(function: Callable[..., Result]) -> dict[str, Parameter]:
    hints = get_type_hints(function, include_extras=True)
    described = {p.arg_name: p.description for p in parse_docstring(function.__doc__ or "").params}
    return {
        name: Parameter.of(name, hints[name], p.default, described.get(name) or "")
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name != "surveyed"
    }
