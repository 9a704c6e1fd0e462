"""Statistics that were collected on data, checked against the adapters."""

from __future__ import annotations

from torch import Tensor

from ...errors import MergeError
from ...factors import Stack


def statistic_of(stack: Stack, adapter: int, name: str, *shape: int) -> Tensor:
    """Return a statistic of one adapter, float64.

    Raises:
        MergeError: missing statistic, or one of other adapters.
    """
    where = f"{stack.module}, adapter {adapter + 1} of {len(stack)}"
    statistic = stack.data[adapter].get(name) if adapter < len(stack.data) else None
    if statistic is None:
        raise MergeError(
            f"this method needs {name!r}, which is computed on samples of each adapter's task",
            where=where,
            hint="collect it with `robustmerge collect`, and merge with what it writes",
        )
    if tuple(statistic.shape) != shape:
        raise MergeError(
            f"{name!r} has shape {list(statistic.shape)}; these adapters need {list(shape)}",
            where=where,
            hint="run `robustmerge collect` on these adapters, in this order",
        )
    return statistic.double()


def importances(stack: Stack) -> tuple[float, ...]:
    """Return the weights as shares, for methods in which they say how much an adapter counts.

    Raises:
        MergeError: a negative weight, or zeros only.
    """
    if min(stack.weights) < 0:
        raise MergeError(
            f"weights {list(stack.weights)} say how much each adapter counts, and must not be "
            "negative",
            where=stack.module,
            hint="choose other weights, or a method that sums, such as task-arithmetic",
        )
    return stack.share()
