"""What a search moves: axes by name, each of which changes a recipe by what a trial draws.

    scale               one factor on the merge
    weights             one coefficient per adapter
    method:a,b          which method
    parameters[:a,b]    parameters of the method, those that are not set by hand
    projections         a factor on the scale for every kind of module, such as q_proj

A range may follow a name: `scale:0.2..2`, `parameters:density=0.1..0.5`. A search begins at the
closed-form values: every method at its defaults, at the scale as it is and at those of all scale
rules, with weights as they are and projections alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from .. import methods
from ..engine.recipe import Override, Recipe
from ..errors import MergeError, unknown
from .ranges import Choices, Range, Suggests, range_of, read_named, read_range

_LEAST, _MOST = 0.5, 2.0
"""A range of scales goes from half of the smallest starting value to twice the largest."""
_WEIGHTS = Range(0.0, 2.0)
_FACTORS = Range(0.5, 2.0, log=True)
_CLOSE = 0.01  # of each other: two starting scales that count as one


@dataclass(frozen=True)
class SpaceSetup:
    """What axes are made of.

    Attributes:
        recipe: The merge that is tuned.
        text: What follows the axis's name.
        scales: Starting scales by method, the recipe's own or 1 first.
        modules: Canonical names of the modules.
    """

    recipe: Recipe
    text: str
    scales: Mapping[str, Sequence[float]]
    modules: Sequence[str]


@runtime_checkable
class Axis(Protocol):
    """One kind of change of a recipe."""

    def move(self, trial: Suggests, recipe: Recipe) -> Recipe:
        """Return the recipe with what a trial draws."""
        ...

    def start(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the values that leave a recipe as it is, by their names in a trial."""
        ...


_AXES: dict[str, Callable[[SpaceSetup], Axis]] = {}


def axis(name: str) -> Callable[[type[Any]], type[Any]]:
    """Register a class as the axis `name`; axes are applied in the order of registration."""

    def register(kind: type[Any]) -> type[Any]:
        _AXES[name] = kind
        return kind

    return register


@axis("method")
class MethodAxis:
    """Which method; what is set by hand are parameters of the recipe's own."""

    def __init__(self, setup: SpaceSetup) -> None:
        self.names = searched_methods(setup.recipe, setup.text)

    def move(self, trial: Suggests, recipe: Recipe) -> Recipe:
        """Choose a method."""
        name = Choices(tuple(self.names)).draw(trial, "method")
        return recipe if name == recipe.method else replace(recipe, method=name, parameters={})

    def start(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the recipe's method."""
        return {"method": recipe.method}


@axis("parameters")
class ParameterAxis:
    """Parameters of whichever method the recipe has."""

    def __init__(self, setup: SpaceSetup) -> None:
        self._named = read_named(setup.text, "--search parameters")
        self._fixed = frozenset(setup.recipe.parameters) - set(self._named)
        self._own = setup.recipe.method

    def ranges(self, recipe: Recipe) -> dict[str, Range | Choices]:
        """Return what the parameters of the recipe's method are drawn from.

        Raises:
            MergeError: a parameter that is named and that the method does not have.
        """
        known = methods.get(recipe.method).parameters
        for name in self._named:
            if name not in known and recipe.method == self._own:
                raise unknown(f"parameter of {recipe.method}", name, known, where="--search")
        fixed = self._fixed if recipe.method == self._own else frozenset()
        names = [n for n in known if n in (self._named or known) and n not in {*fixed, "seed"}]
        return {
            name: read_range(self._named[name], f"--search parameters:{name}")
            if self._named.get(name)
            else range_of(known[name])
            for name in names
        }

    def move(self, trial: Suggests, recipe: Recipe) -> Recipe:
        """Draw all parameters."""
        drawn = {
            name: each.draw(trial, f"{recipe.method}.{name}")
            for name, each in self.ranges(recipe).items()
        }
        return replace(recipe, parameters={**recipe.parameters, **drawn})

    def start(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the recipe's values, or the defaults."""
        values = methods.get(recipe.method).configure(recipe.parameters)
        ranges = self.ranges(recipe)
        return {f"{recipe.method}.{n}": r.nearest(values[n]) for n, r in ranges.items()}


@axis("weights")
class WeightAxis:
    """One coefficient per adapter, from 0 to 2 unless a range is named."""

    def __init__(self, setup: SpaceSetup) -> None:
        self._range = read_range(setup.text, "--search weights") if setup.text else _WEIGHTS

    def move(self, trial: Suggests, recipe: Recipe) -> Recipe:
        """Draw all weights."""
        names = self.start(recipe)
        return replace(recipe, weights=tuple(self._range.draw(trial, name) for name in names))

    def start(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the recipe's weights."""
        weights = enumerate(recipe.coefficients, 1)
        return {f"weight {number}": self._range.nearest(weight) for number, weight in weights}


@axis("scale")
class ScaleAxis:
    """One factor on the merge; its range has every starting scale."""

    def __init__(self, setup: SpaceSetup) -> None:
        if setup.text:
            self.range = read_range(setup.text, "--search scale")
            return
        every = [scale for scales in setup.scales.values() for scale in scales]
        self.range = Range(_LEAST * min(every), _MOST * max(every), log=True)

    def move(self, trial: Suggests, recipe: Recipe) -> Recipe:
        """Draw a scale."""
        return replace(recipe, scale=self.range.draw(trial, "scale"))

    def start(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the recipe's scale."""
        return {"scale": self.range.nearest(float(recipe.scale))}


@axis("projections")
class ProjectionAxis:
    """A factor on the scale for every kind of module, from a half to twice.

    A rule of scale has no such factors: the scale is a number, or is searched, too.
    """

    def __init__(self, setup: SpaceSetup) -> None:
        rule = setup.recipe.scale
        if isinstance(rule, str) and not any(setup.scales.values()):
            raise MergeError(
                f"projections multiply a number, and the scale is the rule {rule}",
                where="--search projections",
                hint="--search scale projections, or a number as --scale",
            )
        self._kinds = sorted({name.rpartition(".")[2] for name in setup.modules})
        self._range = read_range(setup.text, "--search projections") if setup.text else _FACTORS

    def move(self, trial: Suggests, recipe: Recipe) -> Recipe:
        """Draw all factors."""
        factors = {kind: self._range.draw(trial, f"scale of {kind}") for kind in self._kinds}
        drawn = tuple(
            Override(f"*.{kind}", scale=float(recipe.scale) * factor)
            for kind, factor in factors.items()
        )
        return replace(recipe, modules=(*drawn, *recipe.modules))

    def start(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return factors of 1."""
        return {f"scale of {kind}": self._range.nearest(1.0) for kind in self._kinds}


@dataclass(frozen=True)
class SearchSpace:
    """The axes of a search.

    Attributes:
        recipe: The merge that is tuned.
        axes: What changes it, in order.
        starts: Recipes to begin with; the first is the merge as it would be without a search.
    """

    recipe: Recipe
    axes: tuple[Axis, ...]
    starts: tuple[Recipe, ...]

    def recipe_of(self, trial: Suggests) -> Recipe:
        """Return the recipe that a trial draws."""
        recipe = self.recipe
        for each in self.axes:
            recipe = each.move(trial, recipe)
        return recipe

    def start_values(self) -> list[dict[str, Any]]:
        """Return the values that a search begins with."""
        return [
            {name: value for each in self.axes for name, value in each.start(recipe).items()}
            for recipe in self.starts
        ]


def read_axes(texts: Sequence[str]) -> dict[str, str]:
    """Return what is searched, by the axes' names, in the order in which they are applied.

    Raises:
        MergeError: no such axis, none at all, or one twice.
    """
    pairs = [text.partition(":")[::2] for text in texts]
    for name, _ in pairs:
        if name not in _AXES:
            raise unknown("axis of a search", name, _AXES, where="--search")
    if len(dict(pairs)) != len(pairs) or not pairs:
        raise MergeError(
            "every axis is searched once",
            where=f"--search {' '.join(texts)}",
            hint="such as --search scale weights parameters:density",
        )
    return {name: dict(pairs)[name] for name in _AXES if name in dict(pairs)}


def searched_methods(recipe: Recipe, text: str) -> list[str]:
    """Return the methods of an axis's text, the recipe's own first; all exist."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return list(dict.fromkeys(methods.get(name).name for name in (recipe.method, *names)))


def make_space(
    recipe: Recipe,
    texts: Sequence[str],
    modules: Sequence[str],
    scales_of: Callable[[Recipe], Sequence[float]],
) -> SearchSpace:
    """Make the space of a search.

    Args:
        recipe: The merge that is tuned.
        texts: What is searched, such as scale or parameters:density.
        modules: Canonical names of the modules.
        scales_of: Returns the starting scales of a recipe, its own first; asked for where the scale
            is searched.

    Raises:
        MergeError: an axis, method, parameter or range that is not possible.
    """
    named = read_axes(texts)
    own = searched_methods(recipe, named["method"]) if "method" in named else [recipe.method]
    recipes = {
        name: recipe if name == recipe.method else replace(recipe, method=name, parameters={})
        for name in own
    }
    scales: dict[str, Sequence[float]] = dict.fromkeys(own, ())
    if "scale" in named:
        scales = {name: _distinct(scales_of(each)) for name, each in recipes.items()}
    starts = [
        replace(each, scale=scale) if "scale" in named else each
        for name, each in recipes.items()
        for scale in scales[name] or (each.scale,)
    ]
    axes = tuple(
        _AXES[name](SpaceSetup(recipe, text, scales, modules)) for name, text in named.items()
    )
    return SearchSpace(recipe, axes, tuple(starts))


def _distinct(scales: Sequence[float]) -> list[float]:
    """Return scales without those that are close to an earlier one, to four digits."""
    kept: list[float] = []
    for scale in (float(f"{scale:.4g}") for scale in scales):
        if all(abs(scale - other) > _CLOSE * other for other in kept):
            kept.append(scale)
    return kept
