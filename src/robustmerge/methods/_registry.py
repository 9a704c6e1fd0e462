"""What a merge method is: a pure function over one module's stack, and its signature.

Everything keyword-only after `stack` is configuration: the command line, recipes, validation and
the documentation are read from the signature and the docstring, so that a default is written once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Interval

from ..errors import MergeError, few, unknown
from ..factors import EachModule, Result, Stack
from ..parameters import Parameter, configure, read_signature

Density = Annotated[float, Interval(gt=0, le=1)]
"""Share of entries that is kept."""

Quantile = Annotated[float, Interval(ge=0, lt=1)]
"""A position in a sorted list, as a share of its length."""

Cut = Literal["energy", "objective"]
"""What a cut to a lower rank keeps: the most energy, or the least of the method's objective."""

Survey = Callable[[EachModule, Sequence[Mapping[str, Any]]], object]
"""A first pass over all modules, for the settings that are in use; returns what it saw."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class When:
    """A claim that holds under some settings only: parameter `name` is one of `values`."""

    name: str
    values: tuple[object, ...]

    def __init__(self, name: str, *values: object) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return f"{self.name}={'|'.join(map(str, self.values))}"


Trait = bool | When | tuple[When, ...]
"""Always, never, or under settings that must all be given."""


@dataclass(frozen=True)
class Method:
    """A registered merge method.

    The traits are claims that the contract (`robustmerge.testing`) tests, in both directions.

    Attributes:
        name: What the user types.
        function: (stack, *, parameters) -> Factors, Dense, Lifted or Noted; see `many`.
        paper: Where it comes from, one line.
        checked: What the implementation was compared with.
        gauge_invariant: The result depends on each delta only, not on how it is split in B and A.
        order_invariant: The order of the adapters does not matter.
        scale_equivariant: Deltas c times as large give a merge c times as large.
        stable: Changing the inputs by 1e-12 of themselves changes the result by about as much.
        stochastic: Takes `seed`.
        needs: What `robustmerge collect` must have gathered: names of statistics.
        cautions: Settings that a careful user should know something about, and what.
        survey: An optional first pass over all modules; its result is passed as `surveyed`.
        run: For a method that is no function of one module's stack: what carries it out, as
            MODULE:CLASS, a `MergeRun` that is imported when it is needed.
        live_run: The same on a model in memory, where the method can be carried out there.
        many: The function takes the stacks of many modules of one shape, and returns as many
            results, each as if the module were alone.
    """

    name: str
    function: Callable[..., Any]
    paper: str
    checked: str
    gauge_invariant: Trait
    order_invariant: Trait
    scale_equivariant: Trait
    stable: Trait
    stochastic: bool
    needs: tuple[str, ...]
    cautions: Mapping[When, str]
    survey: Survey | None
    run: str
    live_run: str
    many: bool
    parameters: Mapping[str, Parameter] = field(repr=False)

    @property
    def family(self) -> str:
        """The folder it is in, such as spectral."""
        package, _, _ = self.function.__module__.rpartition(".")
        return package.rpartition(".")[2]

    def has(self, trait: Trait, settings: Mapping[str, Any]) -> bool:
        """Return True if a trait is claimed under these settings of all parameters."""
        if isinstance(trait, bool):
            return trait
        conditions = trait if isinstance(trait, tuple) else (trait,)
        return all(settings[c.name] in c.values for c in conditions)

    def warnings(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the cautions that apply to these settings."""
        return tuple(
            f"{self.name} with {when}: {text}"
            for when, text in self.cautions.items()
            if self.has(when, settings)
        )

    @property
    def doc(self) -> str:
        """The method's page: formula, meaning, source."""
        module = sys.modules[self.function.__module__]
        return inspect.cleandoc(module.__doc__ or self.function.__doc__ or self.name)

    def configure(self, settings: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
        """Return all parameters with their values, the given ones validated.

        Raises:
            MergeError: unknown parameter, or a value out of its bounds.
        """
        for name in set(settings) - set(self.parameters):
            having = [m for m in every() if name in m.parameters]
            if variants := [m.name for m in having if m.is_variant_of(self)] or [
                m.name for m in having
            ]:
                raise MergeError(
                    f"unknown parameter of method {self.name!r} {name!r}",
                    where=where,
                    hint=f"it is a parameter of {few(variants)}; {self.name} has: "
                    f"{', '.join(sorted(self.parameters)) or 'none'}",
                )
        return configure(self.parameters, settings, f"method {self.name!r}", where=where)

    def is_variant_of(self, other: Method) -> bool:
        """Return True if it is named after the other, as robustmerge-paper is after robustmerge."""
        return self.name.startswith(f"{other.name}-")

    def __call__(self, stack: Stack, **parameters: Any) -> Result:
        """Merge one module."""
        return self.together([stack], **parameters)[0]

    def together(self, stacks: Sequence[Stack], **parameters: Any) -> list[Result]:
        """Merge modules of one shape, ranks and weights."""
        if self.many:
            return list(self.function(stacks, **parameters))
        return [self.function(stack, **parameters) for stack in stacks]


_METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    paper: str = "unpublished",
    checked: str = "robustmerge.testing",
    gauge_invariant: Trait = False,
    order_invariant: Trait = True,
    scale_equivariant: Trait = True,
    stable: Trait = True,
    needs: tuple[str, ...] = (),
    cautions: Mapping[When, str] = MappingProxyType({}),
    survey: Survey | None = None,
    run: str = "",
    live_run: str = "",
    many: bool = False,
) -> Callable[[F], F]:
    """Register a function as the merge method `name`.

    A method is stochastic when it takes a parameter `seed`. `Method` says what the traits mean;
    `robustmerge.testing.check_method` reports which of them hold.

    Examples:
        >>> import robustmerge
        >>> from robustmerge.linalg import concat
        >>> half = robustmerge.methods.method("half")(lambda stack: concat(stack).scaled(0.5))
    """

    def register(function: F) -> F:
        if name in _METHODS and _METHODS[name].function.__module__ != function.__module__:
            raise MergeError(
                f"two methods are called {name!r}",
                where=f"{_METHODS[name].function.__module__}\n{function.__module__}",
                hint="rename one of them",
            )
        parameters = read_signature(function)
        _METHODS[name] = Method(
            name=name,
            function=function,
            paper=paper,
            checked=checked,
            gauge_invariant=gauge_invariant,
            order_invariant=order_invariant,
            scale_equivariant=scale_equivariant,
            stable=stable,
            stochastic="seed" in parameters,
            needs=needs,
            cautions=cautions,
            survey=survey,
            run=run,
            live_run=live_run,
            many=many,
            parameters=parameters,
        )
        return function

    return register


def get(name: str) -> Method:
    """Return the method of this name.

    Raises:
        MergeError: unknown name; the nearest one is suggested.
    """
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    return _METHODS[name]


def names() -> tuple[str, ...]:
    """Return the names of all registered methods, sorted; those that run the base, too."""
    return tuple(sorted(_METHODS))


def every() -> tuple[Method, ...]:
    """Return all registered methods that merge a module's stack, by name."""
    return tuple(m for name, m in sorted(_METHODS.items()) if not m.run)


def with_model() -> tuple[Method, ...]:
    """Return the methods that run the base model, by name."""
    return tuple(m for name, m in sorted(_METHODS.items()) if m.run)
