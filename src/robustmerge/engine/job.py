"""One module's merge: what a plan is a list of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import methods
from ..adapter import layout
from ..adapter.keys import Part, lora_name
from ..adapter.reader import Adapter, LoraModule
from ..depth import Depth, find_depths
from .recipe import Recipe


@dataclass(frozen=True)
class ModuleJob:
    """One module's merge.

    Attributes:
        name: Canonical name.
        written: Name in the output.
        part: Part.A for linear layers, Part.EMBEDDING_A for embeddings.
        shape: (d_out, d_in).
        ranks: Each adapter's rank, 0 where it lacks the module.
        weights: Coefficients.
        scale: Factor on the merged update, or the rule it is found by.
        depth: Where in the model it is.
        parameters: All parameters of the method.
    """

    name: str
    written: str
    part: Part
    shape: tuple[int, int]
    ranks: tuple[int, ...]
    weights: tuple[float, ...]
    scale: float | str
    depth: Depth
    parameters: Mapping[str, Any]

    @property
    def full_rank(self) -> int:
        """The rank no sum of the updates exceeds."""
        return min(sum(self.ranks), *self.shape)


def make_jobs(
    names: Sequence[str], adapters: Sequence[Adapter], method: methods.Method, recipe: Recipe
) -> tuple[ModuleJob, ...]:
    """A job for every module, in this order.

    Raises:
        MergeError: A parameter is unknown, or a value out of its bounds.
    """
    depth = find_depths(names)
    return tuple(_job(name, adapters, method, recipe, depth[name]) for name in names)


def factor_names(job: ModuleJob) -> tuple[str, str]:
    """The output's tensor names of a job's A and B."""
    b = Part.B if job.part is Part.A else Part.EMBEDDING_B
    return lora_name(job.written, job.part), lora_name(job.written, b)


def configured(method: methods.Method, given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """All parameters of a method; the seed goes to those that take one.

    Raises:
        MergeError: An unknown parameter, or a value out of its bounds.
    """
    return method.configure({"seed": seed, **given} if method.stochastic else given)


def written_name(name: str, adapters: Sequence[Adapter], recipe: Recipe) -> str:
    """A canonical name as the output has it.

    In the first adapter's own words where it has it, as an old layout has several spellings; unless
    current names are asked for, which have one.
    """
    first, asked = adapters[0], recipe.layout
    if asked in (None, first.layout) and asked != layout.HF and name in first.written:
        return first.written[name]
    return layout.written(name, asked or first.layout)


def _job(
    name: str,
    adapters: Sequence[Adapter],
    method: methods.Method,
    recipe: Recipe,
    depth: Depth,
) -> ModuleJob:
    found: list[LoraModule | None] = [a.modules.get(name) for a in adapters]
    some = next(m for m in found if m is not None)
    weights, scale, given = recipe.weights, recipe.scale, dict(recipe.parameters)
    for override in recipe.modules:
        if override.covers(name):
            weights = override.weights or weights
            scale = recipe.scale if override.scale is None else override.scale
            given.update(override.parameters)
    return ModuleJob(
        name=name,
        written=written_name(name, adapters, recipe),
        part=some.part,
        shape=some.shape,
        ranks=tuple(m.rank if m else 0 for m in found),
        weights=weights or (1.0,) * len(adapters),
        scale=scale,
        depth=depth,
        parameters=configured(method, given, recipe.seed),
    )
