"""Norms and inner products of the updates, for methods that derive coefficients from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import MergeError
from ...factors import EachModule, Stack
from ...linalg import core, norm
from ..entrywise._survey import check_surveyed

Scope = Literal["model", "module"]
Squares = tuple[float, ...]
"""Each adapter's squared Frobenius norm."""


def survey(each: EachModule, parameters: Sequence[Mapping[str, Any]]) -> Squares | None:
    """Take squared norms over all modules: the first pass of a method with `scope`."""
    if all(settings["scope"] != "model" for settings in parameters):
        return None
    return tuple(sum(of) for of in zip(*each(squares), strict=True))


def squares_within(scope: Scope, stack: Stack, surveyed: Squares | None) -> Squares:
    """Return each adapter's squared norm, over the whole model or this module.

    Raises:
        MergeError: scope=model without a first pass.
    """
    check_surveyed(stack, surveyed, scope == "model", "scope=model")
    return surveyed if scope == "model" and surveyed is not None else squares(stack)


def squares(stack: Stack) -> Squares:
    """Return each update's squared norm in this module, unweighted."""
    return tuple(norm(f) ** 2 for f in stack.factors)


def gram(stack: Stack) -> Float[Tensor, "task task"]:
    """Return the inner products of the updates, unweighted."""
    vectors = core(stack).M.flatten(1)  # [task, p·q]
    return vectors @ vectors.T


def unit(squared: Float[Tensor, "task task"]) -> Float[Tensor, "task task"]:
    """Return the cosines that belong to inner products; zero where an update is zero."""
    norms = squared.diagonal().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, 0)
    return (inverse[:, None] * squared * inverse).clamp(-1, 1)


def shares_of_directions(stack: Stack) -> tuple[float, ...]:
    """Return the weights divided by their sum, for means that know no opposite of an adapter.

    Raises:
        MergeError: a negative weight, or zeros only.
    """
    if min(stack.weights) < 0:
        raise MergeError(
            f"this mean takes no negative weights, and these are {list(stack.weights)}",
            where=stack.module,
            hint="choose other weights, or a method that sums, such as task-arithmetic",
        )
    return stack.share()
