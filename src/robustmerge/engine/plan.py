"""From a recipe to a list of jobs, reading headers only: what can be refused is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch

from .. import methods, steps
from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.keys import full_name
from ..adapter.reader import Adapter
from ..adapter.statistics import Selection
from ..adapter.tensors import DTYPES, TensorSpec
from ..errors import MergeError, unknown
from .data import data_notes, find_data
from .dora import check_dora, dora_notes
from .extras import Extra, check_extra
from .job import ModuleJob, factor_names, make_jobs, written_name
from .recipe import Recipe

_NAMES = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class MergePlan:
    """A merge that can start.

    Attributes:
        recipe: What was asked.
        adapters: The opened inputs.
        method: The method.
        balance: Steps before the merge.
        calibrate: Steps after it.
        jobs: The modules, in natural order.
        extras: Parameters trained whole.
        base: The opened base model, if given and needed.
        layout: How modules are named in the output.
        dtype: Safetensors name of the output's type.
        warnings: What a careful user should know.
        data: What was collected of the adapters' tasks, if the method needs it.
    """

    recipe: Recipe
    adapters: tuple[Adapter, ...]
    method: methods.Method
    balance: tuple[steps.ConfiguredStep, ...]
    calibrate: tuple[steps.ConfiguredStep, ...]
    jobs: tuple[ModuleJob, ...]
    extras: tuple[Extra, ...]
    base: Base | None
    layout: str
    dtype: str
    warnings: tuple[str, ...]
    data: Selection | None = None

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

    def close(self) -> None:
        """Release the inputs."""
        for adapter in self.adapters:
            adapter.close()
        if self.base is not None:
            self.base.close()
        if self.data is not None:
            self.data.statistics.close()

    def lora_specs(self, rank: int) -> dict[str, TensorSpec]:
        """The output's LoRA tensors."""
        specs = {}
        for job in self.jobs:
            a, b = factor_names(job)
            specs[a] = TensorSpec(self.dtype, (rank, job.shape[1]))
            specs[b] = TensorSpec(self.dtype, (job.shape[0], rank))
        return specs

    def extra_specs(self) -> dict[str, TensorSpec]:
        """The output's other tensors, under the names an adapter file has for them."""
        return {full_name(extra.written): extra.spec for extra in self.extras}


def make_plan(recipe: Recipe) -> MergePlan:
    """Open the inputs and check that they can be merged as asked.

    Raises:
        MergeError: They cannot.
    """
    for plugin in recipe.plugins:
        methods.load_plugin(plugin)
    method = methods.get(recipe.method)
    adapters = tuple(Adapter(s, dora=recipe.dora == "mean") for s in recipe.adapters)
    if not recipe.same_base:
        align.check_same_base(adapters)
    for field in ("fan_in_fan_out", "trainable_token_indices", "use_dora"):
        align.check_same_setting(adapters, field)
    names = align.select_modules(adapters, recipe.missing)
    target = recipe.layout or adapters[0].layout
    if target not in layout.LAYOUTS:
        raise unknown("layout", target, layout.LAYOUTS)
    check_dora(adapters, recipe, target)
    for override in recipe.modules:
        if not any(override.covers(name) for name in names):
            raise MergeError(
                f"the pattern {override.match!r} matches no module",
                where="modules",
                hint=f"names are such as {names[0]}",
            )
    jobs = make_jobs(names, adapters, method, recipe)
    extras = _extras(adapters, recipe, target)
    spelled = {job.name: job.written for job in jobs} | {x.name: x.written for x in extras}
    align.check_distinct(spelled, target)
    base = _base(recipe, extras) if recipe.base is not None and extras else None
    # What the method has to say about its settings, each once.
    cautions = dict.fromkeys(text for job in jobs for text in method.warnings(job.parameters))
    for extra in extras:
        check_extra(extra, recipe, adapters, base)
    return MergePlan(
        recipe=recipe,
        adapters=adapters,
        method=method,
        balance=recipe.steps("balance"),
        calibrate=recipe.steps("calibrate"),
        jobs=jobs,
        extras=extras,
        base=base,
        layout=target,
        dtype=_dtype(recipe, [m.A.spec for a in adapters for m in a.modules.values()]),
        warnings=(
            *_warnings(adapters, recipe),
            *dora_notes(adapters),
            *cautions,
            *data_notes(recipe, method),
        ),
        data=find_data(recipe, method, adapters, {job.name: job.shape for job in jobs}),
    )


def _extras(adapters: Sequence[Adapter], recipe: Recipe, target: str) -> tuple[Extra, ...]:
    extras = []
    for name in align.select_extras(adapters, recipe.missing):
        places = [a.extras[name] for a in adapters if name in a.extras]
        module, _, leaf = name.rpartition(".")
        bare = module in ("", "model")
        if bare:
            written = layout.written(name, target)
        else:
            written = f"{written_name(module, adapters, recipe)}.{leaf}"
        if bare and recipe.extras_in == "adapter" and target != layout.LLAVA:
            raise MergeError(
                f"{name} is a bare parameter, which no PEFT adapter can hold",
                where=str(places[0]),
                hint="--extras-in beside writes such tensors to a file of their own",
            )
        spec = TensorSpec(_dtype(recipe, [p.spec for p in places]), places[0].spec.shape)
        extras.append(Extra(name, written, spec))
    copies = {n: p for a in adapters for n, p in a.bases.items()}
    for name in sorted(copies, key=align.natural_key):
        module, _, leaf = name.partition(".base_layer.")
        written = f"{written_name(module, adapters, recipe)}.base_layer.{leaf}"
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


def _dtype(recipe: Recipe, specs: Sequence[TensorSpec]) -> str:
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
    if old := _old_names(recipe, adapters):
        warnings.append(old)
    return tuple(warnings)


def _old_names(recipe: Recipe, adapters: Sequence[Adapter]) -> str:
    """Names that today's PEFT would load as nothing, or a KeyError, on today's transformers."""
    target = recipe.layout or adapters[0].layout
    names = [n for a in adapters for n in (*a.modules, *a.extras)]
    outside = any(layout.tower(n) in ("vision", "connector") for n in names)
    if target in (layout.HF_OLD, layout.FLAT) and outside:
        return (
            f"module names are written as {target}, which current PEFT does not load in full for "
            "vision modules and projectors; --layout hf writes current names"
        )
    return ""
