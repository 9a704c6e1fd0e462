"""A first pass over all modules, for methods that look at the whole model as one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ...errors import MergeError
from ...factors import Stack
from ._entries import Blocks, EntryBlock, part_names, view_of

Stacks = Callable[[], Iterator[Stack]]
S = TypeVar("S")


def surveying(
    name: str,
    value: str,
    statistic: Callable[[Blocks, Mapping[str, Any]], S],
    check: Callable[[Stack, Mapping[str, Any]], None] = lambda stack, given: None,
) -> Callable[[Stacks, Sequence[Mapping[str, Any]]], dict[str, S] | None]:
    """The first pass of a method that, with parameter `name` = `value`, looks at the whole model.

    It finds a statistic of each vector where that runs through all modules. In factor space the A
    of all modules are one vector and the B another: the two have scales of their own (B starts at
    zero), and in one vector nearly all of B would count as small.

    Args:
        name: The parameter.
        value: Its value that asks for the whole model.
        statistic: From a vector's blocks and the parameters.
        check: Refuses a module that cannot be merged by the parameters.
    """

    def survey(stacks: Stacks, parameters: Sequence[Mapping[str, Any]]) -> dict[str, S] | None:
        if all(given[name] != value for given in parameters):
            return None
        one = parameters[0]
        _check_equal(parameters, f"{name}={value}")

        def chain(part: int) -> Iterator[EntryBlock]:
            for stack in stacks():
                check(stack, one)
                yield from view_of(stack, one["space"], folded=True).entries[part].blocks()

        names = part_names(one["space"])
        return {of: statistic(partial(chain, part), one) for part, of in enumerate(names)}

    return survey


def check_surveyed(stack: Stack, surveyed: object, asked: bool, setting: str) -> None:
    """Check that a method that looks at the whole model has seen it.

    Raises:
        MergeError: It has not.
    """
    if asked and surveyed is None:
        raise MergeError(
            f"{setting} looks at the whole model, and this is one module",
            where=stack.module,
            hint=f"merge whole adapters, or merge without {setting}",
        )


def _check_equal(parameters: Sequence[Mapping[str, Any]], setting: str) -> None:
    one = parameters[0]
    for other in parameters:
        for key in one:
            if one[key] != other[key]:
                raise MergeError(
                    f"{setting} looks at the whole model, but {key} is {one[key]} for some modules "
                    f"and {other[key]} for others",
                    where="modules",
                    hint=f"give all modules the same parameters, or merge without {setting}",
                )
