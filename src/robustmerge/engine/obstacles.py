"""Find what prevents a merge of adapters as they are, and which options allow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import MergeError
from .plan import make_plan
from .recipe import Recipe

_REMEDIES: Mapping[str, Callable[[Recipe], Recipe]] = {
    "--same-base": lambda recipe: replace(recipe, same_base=True),
    "--missing zero": lambda recipe: replace(recipe, missing="zero"),
    "--extras-in beside": lambda recipe: replace(recipe, extras_in="beside"),
    "--dora mean": lambda recipe: replace(recipe, dora="mean"),
}
"""Options that an error's hint may name, and the recipe with them."""

_BASE = "--base MODEL"  # only the user knows which one, so that nothing beyond it is planned


@dataclass(frozen=True)
class Obstacle:
    """One reason why adapters are not merged as they are.

    Attributes:
        error: The reason.
        option: The option that removes it, '' where none does.
    """

    error: MergeError
    option: str


def find_obstacles(sources: Sequence[str]) -> tuple[Obstacle, ...]:
    """Plan the merge, and where that is refused, again with the option that the refusal names."""
    recipe, obstacles = Recipe(adapters=tuple(sources)), list[Obstacle]()
    while True:
        try:
            make_plan(recipe).close()
        except MergeError as error:
            used = {obstacle.option for obstacle in obstacles}
            option = next((o for o in _REMEDIES if o in error.hint and o not in used), "")
            if not option:
                obstacles.append(Obstacle(error, _BASE if _BASE in error.hint else ""))
                return tuple(obstacles)
            obstacles.append(Obstacle(error, option))
            recipe = _REMEDIES[option](recipe)
        else:
            return tuple(obstacles)
