"""The merge of one module, and the names of its tensors in the output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import methods
from ..adapter import layout
from ..adapter.factor_writer import FactorTensors
from ..adapter.keys import Part
from ..adapter.reader import Adapter, LoraModule
from ..adapter.wrapped import WrappedParameter
from ..depth import Depth, find_depths
from .experts import owner_of, plan_wrapping
from .recipe import Recipe
from .values import Parameters

_TOGETHER = 16 << 20
"""Bytes that are merged at once: 11 experts of 4 adapters of rank 16, of 2048 x 1536."""
_CORES = 4
"""Of an update's cores, [task R R] in float64, that a method holds at once in a batch: DRIFT's."""


@dataclass(frozen=True)
class ModuleJob:
    """One module's merge.

    Attributes:
        name: Canonical name.
        written: Name in the output.
        part: Part.A for linear layers, Part.EMBEDDING_A for embeddings.
        shape: (d_out, d_in).
        ranks: Each adapter's rank, 0 where the module is missing.
        weights: Coefficients.
        scale: Factor on the merged update, or the rule that determines it.
        depth: Its position in the model.
        parameters: All parameters of the method.
        wrapped: The parameter, or the expert's part of it, where the output wraps parameters.
        kernel: Shape of A behind the rank, for convolutions.
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
    wrapped: WrappedParameter | None = None
    kernel: tuple[int, ...] = ()

    @property
    def full_rank(self) -> int:
        """The rank no sum of the updates exceeds."""
        return min(sum(self.ranks), *self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all updates in float32, and of what methods make of them in core space."""
        R = sum(self.ranks)
        return 4 * R * sum(self.shape) + _CORES * 8 * len(self.ranks) * R**2

    @property
    def kind(self) -> tuple[object, ...]:
        """What modules have in common that are computed as one problem."""
        return self.shape, self.ranks, self.weights, repr(sorted(self.parameters.items()))

    @property
    def tensors(self) -> FactorTensors:
        """Where its factors go in the output."""
        return FactorTensors.of(self.written, self.part, wrapped=self.wrapped, kernel=self.kernel)


@dataclass(frozen=True)
class JobBatch:
    """Modules that are merged at once: experts of one module, any other module by itself."""

    jobs: tuple[ModuleJob, ...]

    @property
    def name(self) -> str:
        """What errors of the whole batch are about."""
        first, *others = self.jobs
        return f"{first.name} and {len(others)} more" if others else first.name

    @property
    def alike(self) -> list[list[int]]:
        """Numbers of the jobs that are one problem, in the order of the first of each."""
        kinds: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number, job in enumerate(self.jobs):
            kinds[job.kind].append(number)
        return list(kinds.values())


def batches(jobs: Sequence[ModuleJob]) -> list[JobBatch]:
    """Return the jobs in their order, with experts of a module together, as far as memory allows.

    Experts are small: what a module costs is more than its arithmetic.
    """
    made: list[list[ModuleJob]] = []
    owner, held = "", 0
    for job in jobs:
        own = owner_of(job.name)
        if own and own == owner and held + job.nbytes <= _TOGETHER:
            made[-1].append(job)
            held += job.nbytes
        else:
            made.append([job])
            owner, held = own, job.nbytes
    return [JobBatch(tuple(batch)) for batch in made]


def make_jobs(
    names: Sequence[str], adapters: Sequence[Adapter], method: methods.Method, recipe: Recipe
) -> tuple[ModuleJob, ...]:
    """Return a job for every module, in this order.

    Raises:
        MergeError: an unknown parameter, or a value out of its bounds
    """
    depth, wrapped = find_depths(names), plan_wrapping(names, adapters)
    return tuple(
        _job(name, adapters, method, recipe, depth[name], wrapped.get(name)) for name in names
    )


def configure_method(method: methods.Method, parameters: Parameters, seed: int) -> dict[str, Any]:
    """Return all parameters of a method; the seed goes to those that take one.

    Raises:
        MergeError: an unknown parameter, or a value out of its bounds
    """
    return method.configure({"seed": seed, **parameters} if method.stochastic else parameters)


def written_name(name: str, adapters: Sequence[Adapter], target: str | None) -> str:
    """Return a canonical name as the output has it.

    Where the recipe names no layout, it is the adapters' own name, so that the result loads
    wherever they load. Another layout than the first adapter's has names of its own.

    Args:
        name: The canonical name.
        adapters: The opened inputs.
        target: The layout that the recipe names, if any.
    """
    first = adapters[0]
    if target is None or (target == first.layout and target != layout.HF):
        own = (a.written[name] for a in adapters if a.layout == first.layout and name in a.written)
        if (written := next(own, None)) is not None:
            return written
    return layout.written(name, target or first.layout)


def _job(
    name: str,
    adapters: Sequence[Adapter],
    method: methods.Method,
    recipe: Recipe,
    depth: Depth,
    wrapped: WrappedParameter | None,
) -> ModuleJob:
    modules: list[LoraModule | None] = [a.modules.get(name) for a in adapters]
    first = next(m for m in modules if m is not None)
    weights, scale, parameters = recipe.coefficients, recipe.scale, dict(recipe.parameters)
    for override in recipe.modules:
        if override.covers(name):
            weights = override.weights or weights
            scale = scale if override.scale is None else override.scale
            parameters.update(override.parameters)
    return ModuleJob(
        name=name,
        written=written_name(name, adapters, recipe.layout),
        part=first.part,
        shape=first.shape,
        ranks=tuple(m.rank if m else 0 for m in modules),
        weights=weights,
        scale=scale,
        depth=depth,
        parameters=configure_method(method, parameters, recipe.seed),
        wrapped=wrapped,
        kernel=first.kernel,
    )
