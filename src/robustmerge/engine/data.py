"""Load the statistics a merge needs, or raise an error that says how to collect them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import methods
from ..adapter.reader import Adapter
from ..adapter.statistics import Selection, Statistics
from ..errors import MergeError
from ..statistic_kinds import kinds_of
from .recipe import Recipe


def find_data(
    recipe: Recipe,
    method: methods.Method,
    adapters: Sequence[Adapter],
    shapes: Mapping[str, tuple[int, int]],
) -> Selection | None:
    """Open the recipe's statistics, if its method needs any.

    Raises:
        MergeError: no statistics, or statistics of other adapters
    """
    if not method.needs:
        return None
    if recipe.data is None:
        raise MergeError(
            f"method {method.name!r} needs statistics of the adapters' tasks",
            where="--data",
            hint=_advice(method, [adapter.label for adapter in adapters]),
        )
    return Statistics(recipe.data).select(adapters, shapes, method.needs)


def data_notes(recipe: Recipe, method: methods.Method) -> tuple[str, ...]:
    """Warn of statistics that the method does not read."""
    if recipe.data is None or method.needs:
        return ()
    return (f"method {method.name} needs no data; {recipe.data} was not read",)


def _advice(method: methods.Method, labels: Sequence[str]) -> str:
    return (
        f"robustmerge collect {' '.join(labels)} --base MODEL --samples FILE.jsonl … "
        f"--what {' '.join(kinds_of(method.needs))} -o stats gathers them; then --data stats"
    )
