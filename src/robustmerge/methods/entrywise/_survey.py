"""A first pass over all modules, for methods that look at the whole model as one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

from ...errors import MergeError
from ...factors import EachModule, Stack
from ._entries import Blocks, EntryBlock, part_names, view_of

R = TypeVar("R")
S = TypeVar("S")


def make_survey(
    name: str,
    value: str,
    statistic: Callable[[Blocks, Mapping[str, Any]], S],
    check: Callable[[Stack, Mapping[str, Any]], None] = lambda stack, settings: None,
) -> Callable[[EachModule, Sequence[Mapping[str, Any]]], dict[str, S] | None]:
    """Make the first pass of a method that, with `name` = `value`, looks at the whole model.

    It takes a statistic of each vector, which runs through all modules. In factor space the A
    of all modules are one vector and the B another: the two have scales of their own (B starts at
    zero), and in one vector nearly all of B would count as small.

    Args:
        name: The parameter.
        value: Its value that asks for the whole model.
        statistic: From a vector's blocks and the parameters.
        check: Refuses a module that cannot be merged by the parameters.
    """

    def survey(each: EachModule, parameters: Sequence[Mapping[str, Any]]) -> dict[str, S] | None:
        if all(settings[name] != value for settings in parameters):
            return None
        first = parameters[0]
        _check_equal(parameters, f"{name}={value}")

        def blocks(part: int) -> Blocks:
            def of(stack: Stack) -> Iterator[EntryBlock]:
                check(stack, first)
                return view_of(stack, first["space"], folded=True).entries[part].blocks()

            def modules(work: Callable[[Iterator[EntryBlock]], R]) -> Iterator[R]:
                return each(lambda stack: work(of(stack)))

            return Blocks(lambda: chain.from_iterable(each(of)), modules=modules)

        names = part_names(first["space"])
        return {name: statistic(blocks(part), first) for part, name in enumerate(names)}

    return survey


def check_surveyed(stack: Stack, surveyed: object, needed: bool, setting: str) -> None:
    """Check that a method that looks at the whole model has seen it.

    Raises:
        MergeError: no first pass was made.
    """
    if needed and surveyed is None:
        raise MergeError(
            f"{setting} looks at the whole model, and this is one module",
            where=stack.module,
            hint=f"merge whole adapters, or merge without {setting}",
        )


def _check_equal(parameters: Sequence[Mapping[str, Any]], setting: str) -> None:
    first = parameters[0]
    for other in parameters:
        for key in first:
            if first[key] != other[key]:
                raise MergeError(
                    f"{setting} looks at the whole model, but {key} is {first[key]} for some "
                    f"modules and {other[key]} for others",
                    where="modules",
                    hint=f"give all modules the same parameters, or merge without {setting}",
                )
