"""What was gathered on data: one statistic at a time, checked against the adapters."""

from __future__ import annotations

from torch import Tensor

from ...errors import MergeError
from ...factors import Stack


def gathered(stack: Stack, adapter: int, name: str, *shape: int) -> Tensor:
    """A statistic of one adapter, float64.

    Raises:
        MergeError: It was not gathered, or on other adapters.
    """
    where = f"{stack.module}, adapter {adapter + 1} of {len(stack)}"
    found = stack.data[adapter].get(name) if adapter < len(stack.data) else None
    if found is None:
        raise MergeError(
            f"this method needs {name!r}, which is computed on samples of each adapter's task",
            where=where,
            hint="gather it with `robustmerge collect`, and merge with what it writes",
        )
    if tuple(found.shape) != shape:
        raise MergeError(
            f"{name!r} has shape {list(found.shape)}; these adapters need {list(shape)}",
            where=where,
            hint="run `robustmerge collect` on these adapters, in this order",
        )
    return found.double()


def importances(stack: Stack) -> tuple[float, ...]:
    """The weights as shares of what is heard.

    Raises:
        MergeError: One is negative, or all are zero.
    """
    if min(stack.weights) < 0:
        raise MergeError(
            f"weights {list(stack.weights)} say how much each adapter is heard, and must not be "
            "negative",
            where=stack.module,
            hint="choose other weights, or a method that sums, such as task-arithmetic",
        )
    return stack.share()
