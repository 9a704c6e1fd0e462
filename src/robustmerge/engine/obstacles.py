"""What stands in the way of merging adapters as they are, and which options clear it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import MergeError
from .plan import make_plan
from .recipe import Recipe

_REMEDIES: Mapping[str, Mapping[str, Any]] = {
    "--same-base": {"same_base": True},
    "--missing zero": {"missing": "zero"},
    "--extras-in beside": {"extras_in": "beside"},
    "--dora mean": {"dora": "mean"},
}
"""Options that an error's hint may name, and what they set."""

_BASE = "--base MODEL"  # which one is the user's to say, so that nothing beyond it is planned


@dataclass(frozen=True)
class Obstacle:
    """One reason why adapters are not merged as they are.

    Attributes:
        error: The reason.
        option: The option that clears it, '' where none does.
    """

    error: MergeError
    option: str


def obstacles(sources: Sequence[str]) -> tuple[Obstacle, ...]:
    """Plan the merge, and where that is refused, again with the option that the refusal names."""
    recipe, found = Recipe(adapters=tuple(sources)), list[Obstacle]()
    while True:
        try:
            make_plan(recipe).close()
        except MergeError as error:
            used = {obstacle.option for obstacle in found}
            option = next((o for o in _REMEDIES if o in error.hint and o not in used), "")
            if not option:
                found.append(Obstacle(error, _BASE if _BASE in error.hint else ""))
                return tuple(found)
            found.append(Obstacle(error, option))
            recipe = replace(recipe, **_REMEDIES[option])
        else:
            return tuple(found)
