"""From a recipe to a list of jobs, reading headers only: what can be refused is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from .. import methods
from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.keys import Part, full_name, lora_name
from ..adapter.reader import Adapter, Module
from ..adapter.tensors import DTYPES, Spec
from ..errors import MergeError, unknown
from .recipe import Recipe

_NAMES = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Job:
    """One module's merge.

    Attributes:
        name: Canonical name.
        written: Name in the output.
        part: Part.A for linear layers, Part.EMBEDDING_A for embeddings.
        shape: (d_out, d_in).
        ranks: Each adapter's rank, 0 where it lacks the module.
        weights: Coefficients.
        scale: Factor on the merged update.
        parameters: All parameters of the method.
    """

    name: str
    written: str
    part: Part
    shape: tuple[int, int]
    ranks: tuple[int, ...]
    weights: tuple[float, ...]
    scale: float
    parameters: Mapping[str, Any]

    @property
    def full_rank(self) -> int:
        """The rank no sum of the updates exceeds."""
        return min(sum(self.ranks), *self.shape)


@dataclass(frozen=True)
class Extra:
    """One parameter trained whole, or a copy of a base weight, that goes into the result.

    Attributes:
        name: Canonical name.
        written: Name in the output, without the prefix.
        spec: Type and shape in the output.
        copied: It must be equal in all adapters and is passed on, rather than merged.
    """

    name: str
    written: str
    spec: Spec
    copied: bool = False


@dataclass(frozen=True)
class Plan:
    """A merge that can start.

    Attributes:
        recipe: What was asked.
        adapters: The opened inputs.
        method: The method.
        jobs: The modules, in natural order.
        extras: Parameters trained whole.
        base: The opened base model, if given and needed.
        layout: How modules are named in the output.
        dtype: Safetensors name of the output's type.
        warnings: What a careful user should know.
    """

    recipe: Recipe
    adapters: tuple[Adapter, ...]
    method: methods.Method
    jobs: tuple[Job, ...]
    extras: tuple[Extra, ...]
    base: Base | None
    layout: str
    dtype: str
    warnings: tuple[str, ...]

    @property
    def rank(self) -> int | None:
        """The uniform rank of the output; None where it depends on the energy."""
        asked = self.recipe.rank
        if self.recipe.energy is not None:
            return None
        if asked == "input":
            return max(max(job.ranks) for job in self.jobs)
        if asked == "full":
            return max(job.full_rank for job in self.jobs)
        return int(asked)

    def lora_specs(self, rank: int) -> dict[str, Spec]:
        """The output's LoRA tensors."""
        specs = {}
        for job in self.jobs:
            a, b = factor_names(job)
            specs[a] = Spec(self.dtype, (rank, job.shape[1]))
            specs[b] = Spec(self.dtype, (job.shape[0], rank))
        return specs

    def extra_specs(self) -> dict[str, Spec]:
        """The output's other tensors, under the names an adapter file has for them."""
        return {full_name(extra.written): extra.spec for extra in self.extras}


def make_plan(recipe: Recipe) -> Plan:
    """Open the inputs and check that they can be merged as asked.

    Raises:
        MergeError: They cannot.
    """
    method = methods.get(recipe.method)
    adapters = tuple(Adapter(source) for source in recipe.adapters)
    if not recipe.same_base:
        align.same_base(adapters)
    for field in ("fan_in_fan_out", "trainable_token_indices"):
        align.same_setting(adapters, field)
    names = align.modules(adapters, recipe.missing)
    target = recipe.layout or adapters[0].layout
    if target not in layout.LAYOUTS:
        raise unknown("layout", target, layout.LAYOUTS)
    for override in recipe.modules:
        if not any(override.covers(name) for name in names):
            raise MergeError(
                f"the pattern {override.match!r} matches no module",
                where="modules",
                hint=f"names are such as {names[0]}",
            )
    jobs = tuple(_job(name, adapters, method, recipe, target) for name in names)
    extras = _extras(adapters, recipe, target)
    needs_base = recipe.base is not None and bool(extras)
    return Plan(
        recipe=recipe,
        adapters=adapters,
        method=method,
        jobs=jobs,
        extras=extras,
        base=_base(recipe, extras) if needs_base else None,
        layout=target,
        dtype=_dtype(recipe, [m.A.spec for a in adapters for m in a.modules.values()]),
        warnings=_warnings(adapters, recipe),
    )


def factor_names(job: Job) -> tuple[str, str]:
    """The output's tensor names of a job's A and B."""
    b = Part.B if job.part is Part.A else Part.EMBEDDING_B
    return lora_name(job.written, job.part), lora_name(job.written, b)


def written_name(name: str, adapters: Sequence[Adapter], target: str) -> str:
    """A canonical name as the output has it; in the first adapter's own words where it has it."""
    first = adapters[0]
    if target == first.layout and name in first.written:
        return first.written[name]
    return layout.written(name, target)


def _job(
    name: str, adapters: Sequence[Adapter], method: methods.Method, recipe: Recipe, target: str
) -> Job:
    found: list[Module | None] = [a.modules.get(name) for a in adapters]
    some = next(m for m in found if m is not None)
    weights, scale, given = recipe.weights, recipe.scale, dict(recipe.parameters)
    for override in recipe.modules:
        if override.covers(name):
            weights = override.weights or weights
            scale = recipe.scale if override.scale is None else override.scale
            given.update(override.parameters)
    if method.stochastic:
        given.setdefault("seed", recipe.seed)
    return Job(
        name=name,
        written=written_name(name, adapters, target),
        part=some.part,
        shape=some.shape,
        ranks=tuple(m.rank if m else 0 for m in found),
        weights=weights or (1.0,) * len(adapters),
        scale=scale,
        parameters=method.configure(given),
    )


def _extras(adapters: Sequence[Adapter], recipe: Recipe, target: str) -> tuple[Extra, ...]:
    extras = []
    for name in align.extras(adapters, recipe.missing):
        places = [a.extras[name] for a in adapters if name in a.extras]
        module, _, leaf = name.rpartition(".")
        written = written_name(module, adapters, target) + f".{leaf}"
        in_peft = recipe.extras_in == "adapter" and target != layout.LLAVA
        if in_peft and module == "model":
            raise MergeError(
                f"{name} is a bare parameter, which no PEFT adapter can hold",
                where=str(places[0]),
                hint="--extras-in beside writes such tensors to a file of their own",
            )
        spec = Spec(_dtype(recipe, [p.spec for p in places]), places[0].spec.shape)
        extras.append(Extra(name, written, spec))
    copies = {n: p for a in adapters for n, p in a.bases.items()}
    for name in sorted(copies, key=align.natural):
        module, _, leaf = name.partition(".base_layer.")
        written = f"{written_name(module, adapters, target)}.base_layer.{leaf}"
        extras.append(Extra(name, written, copies[name].spec, copied=True))
    return tuple(extras)


def _base(recipe: Recipe, extras: Sequence[Extra]) -> Base:
    base = Base(str(recipe.base))
    for extra in extras:
        place = base.tensors.get(extra.name)
        if place is not None and place.spec.shape != extra.spec.shape:
            raise MergeError(
                f"{extra.name} has another shape in the base",
                where=f"adapters   {list(extra.spec.shape)}\n{place}   {list(place.spec.shape)}",
                hint="name the base model the adapters were trained on",
            )
    return base


def _dtype(recipe: Recipe, specs: Sequence[Spec]) -> str:
    """The output's type: as asked, or the narrowest that holds all inputs' values."""
    if recipe.dtype:
        return _NAMES[recipe.dtype]
    found = [DTYPES.get(spec.dtype, torch.float32) for spec in specs]
    widest = reduce(torch.promote_types, found)
    return _NAMES[str(widest).removeprefix("torch.")]


def _warnings(adapters: Sequence[Adapter], recipe: Recipe) -> tuple[str, ...]:
    warnings = []
    folders = [a.folder.resolve() for a in adapters]
    if len(set(folders)) < len(folders):
        warnings.append("an adapter is given more than once")
    if recipe.same_base and len({a.config.base for a in adapters}) > 1:
        names = ", ".join(sorted({a.config.base or "(none)" for a in adapters}))
        warnings.append(f"the adapters name different base models, taken as one: {names}")
    return tuple(warnings)
