"""From a recipe to a list of jobs, reading headers only: what can be refused is refused here.

The plan holds what follows from the recipe, not the recipe itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import methods, steps
from ..adapter import align, layout
from ..adapter.reader import Adapter
from ..adapter.statistics import Selection
from ..adapter.tensors import TensorSpec
from ..checks.peft_rules import selects
from ..errors import MergeError, few, unknown
from ..files import expand_user
from .data import check_model_needs, data_notes, find_data
from .dora import check_dora, dora_notes
from .experts import check_layouts, expert_notes
from .extras import ExtrasPlan, output_dtype, plan_extras
from .job import ModuleJob, make_jobs
from .left_out import LeftOut, left_out_warnings, measure_left_out
from .naming import plan_names
from .recipe import Recipe
from .tokens import TokensPlan, plan_tokens


@dataclass(frozen=True)
class MergePlan:
    """A merge that can start.

    Attributes:
        adapters: The opened inputs.
        method: The method.
        balance: Steps before the merge.
        calibrate: Steps after it.
        jobs: The modules, in natural order.
        factor_per_module: A scale rule determines a factor for every module, not one for all.
        rank: The uniform rank of the output; None where it depends on the energy.
        energy: The share of energy to keep, where the rank depends on it.
        extras: The fully trained parameters.
        base_name: The base model's name in the output.
        layout: How modules are named in the output.
        dtype: Safetensors name of the output's type.
        left_out: What every adapter loses by `leave_out`; empty where nothing is left out.
        warnings: What a careful user should know.
        plugins: Files or modules that registered methods.
        data: What was collected of the adapters' tasks, if the method needs it.
        vision: The base is known to be a vision-language model.
        tokens: What rows of the vocabulary mean.
    """

    adapters: tuple[Adapter, ...]
    method: methods.Method
    balance: tuple[steps.ConfiguredStep, ...]
    calibrate: tuple[steps.ConfiguredStep, ...]
    jobs: tuple[ModuleJob, ...]
    factor_per_module: bool
    rank: int | None
    energy: float | None
    extras: ExtrasPlan
    base_name: str
    layout: str
    dtype: str
    warnings: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    plugins: tuple[str, ...] = ()
    data: Selection | None = None
    vision: bool = False
    tokens: TokensPlan = field(default_factory=TokensPlan)

    def close(self) -> None:
        """Release the inputs."""
        for adapter in self.adapters:
            adapter.close()
        self.extras.close()
        if self.data is not None:
            self.data.statistics.close()

    def inputs(self) -> list[Path]:
        """Return every file and folder that the merge reads, and the bases that adapters name."""
        bases = {self.base_name, *(adapter.config.base for adapter in self.adapters)}
        names = [*filter(None, bases), *self.plugins]
        data = [self.data.statistics.folder] if self.data is not None else []
        local = [path for path in map(expand_user, names) if path.exists()]
        return [*(adapter.folder for adapter in self.adapters), *data, *local]

    def lora_specs(self, rank: int) -> dict[str, TensorSpec]:
        """Return types and shapes of the output's LoRA tensors."""
        specs: dict[str, TensorSpec] = {}
        for job in self.jobs:
            specs |= job.tensors.specs(job.shape, rank, self.dtype)
        return specs


def make_plan(recipe: Recipe, *, plugins: Sequence[str] | None = None) -> MergePlan:
    """Open the inputs and check that they can be merged in this way.

    Args:
        recipe: What to merge, and how.
        plugins: The plugins that may run; those of the recipe unless given.

    Raises:
        MergeError: anything that would make the merge fail or its result wrong
    """
    method = _load_method(recipe, recipe.plugins if plugins is None else plugins)
    adapters = tuple(_open(source, recipe) for source in recipe.adapters)
    left_out = measure_left_out(adapters, recipe.leave_out)
    names = _check_adapters(adapters, recipe)
    naming = plan_names(adapters, names, recipe)
    recipe = naming.recipe
    target = recipe.layout or adapters[0].layout
    check_dora(adapters, recipe, target)
    _check_patterns(names, recipe)
    jobs = make_jobs(names, adapters, method, recipe)
    tokens = plan_tokens(adapters)
    extras = plan_extras(adapters, recipe, target, tokens)
    if extras.parameters and recipe.missing != "drop":
        align.check_one_way(adapters, names)
    # What the method has to say about its settings, each once.
    cautions = dict.fromkeys(text for job in jobs for text in method.warnings(job.parameters))
    spelled = {x.name: x.written for x in jobs} | {x.name: x.written for x in extras.parameters}
    align.check_distinct(spelled, target)
    extras.check()
    return MergePlan(
        adapters=adapters,
        method=method,
        balance=recipe.steps("balance"),
        calibrate=recipe.steps("calibrate"),
        jobs=jobs,
        factor_per_module=recipe.scale_over == "module",
        rank=planned_rank(recipe, jobs),
        energy=recipe.energy,
        extras=extras,
        base_name=recipe.base or adapters[0].config.base,
        layout=target,
        dtype=output_dtype(recipe.dtype, [m.A.spec for a in adapters for m in a.modules.values()]),
        warnings=(
            *_warnings(adapters, recipe),
            *expert_notes(adapters, names),
            *left_out_warnings(adapters, left_out),
            *tokens.warnings(),
            *dora_notes(adapters),
            *cautions,
            *data_notes(recipe, method),
            *check_model_needs(recipe, method),
        ),
        left_out=left_out,
        plugins=recipe.plugins,
        data=find_data(recipe, method, adapters, {job.name: job.shape for job in jobs}),
        vision=naming.vision,
        tokens=tokens,
    )


def _open(source: str, recipe: Recipe) -> Adapter:
    return Adapter(
        source,
        dora=recipe.dora == "mean",
        accepted=recipe.accept_settings,
        leave_out=recipe.leave_out,
    )


def _load_method(recipe: Recipe, plugins: Sequence[str]) -> methods.Method:
    """Return the recipe's method, after these plugins have run.

    Raises:
        MergeError: no method of this name, or one of a plugin that does not run
    """
    for plugin in plugins:
        methods.load_plugin(plugin)
    known = recipe.method in methods.names()
    if not known and (others := [p for p in recipe.plugins if p not in plugins]):
        raise MergeError(
            f"no method {recipe.method!r} without the recipe's plugins, which a dry run leaves out",
            where="\n".join(others),
            hint="read them; then --plugin FILE on the command runs one in a dry run, too",
        )
    return methods.get(recipe.method)


def planned_rank(recipe: Recipe, jobs: Sequence[ModuleJob]) -> int | None:
    """Return the uniform rank of the output; None where it depends on the energy."""
    if recipe.energy is not None:
        return None
    if recipe.rank == "input":
        return max(max(job.ranks) for job in jobs)
    if recipe.rank == "full":
        return max(job.full_rank for job in jobs)
    return int(recipe.rank)


def _check_adapters(adapters: Sequence[Adapter], recipe: Recipe) -> list[str]:
    """Check that the adapters go together, and return the modules to merge."""
    if not recipe.same_base:
        align.check_same_base(adapters)
    settings = {name for adapter in adapters for name in adapter.config.raw}
    for name in recipe.accept_settings:
        if name not in settings:
            raise unknown("setting of these adapters", name, settings, where="--accept-setting")
    for setting in ("fan_in_fan_out", "use_dora"):
        align.check_same_setting(adapters, setting)
    check_layouts(adapters)
    return align.select_modules(adapters, recipe.missing)


def _check_patterns(names: Sequence[str], recipe: Recipe) -> None:
    """Check that every override is for at least one module."""
    for override in recipe.modules:
        if not any(override.covers(name) for name in names):
            raise MergeError(
                f"the pattern {override.match!r} matches no module",
                where="modules",
                hint=f"names are such as {names[0]}",
            )


def _warnings(adapters: Sequence[Adapter], recipe: Recipe) -> tuple[str, ...]:
    warnings = []
    folders = [a.folder.resolve() for a in adapters]
    if len(set(folders)) < len(folders):
        warnings.append("an adapter is given more than once")
    if recipe.same_base and len({a.config.base for a in adapters}) > 1:
        names = ", ".join(sorted({a.config.base or "(none)" for a in adapters}))
        warnings.append(f"the adapters name different base models, taken as one: {names}")
    tasks = dict.fromkeys(a.config.raw.get("task_type") for a in adapters)
    if len(tasks.keys() - {None}) > 1:
        named = ", ".join(map(str, tasks))
        warnings.append(
            f"the adapters have different task types ({named}); the first one's is written"
        )
    warnings += [
        f"{a.label}: names have wrappers of training tools, which are left out: {few(a.wrappers)}"
        for a in adapters
        if a.wrappers
    ]
    warnings += [
        f"{a.label}: copies of the base's weights are left out, which PEFT keeps next to trained "
        f"modules: {few(list(dict.fromkeys(a.originals)))}"
        for a in adapters
        if a.originals
    ]
    warnings += filter(None, map(_not_selected, adapters))
    if old := _old_names(recipe, adapters):
        warnings.append(old)
    return tuple(warnings)


def _not_selected(adapter: Adapter) -> str:
    """Warn of modules that PEFT would not load from an input, since its settings leave them out."""
    modules = adapter.modules.values()
    try:
        lost = [m.name for m in modules if selects(adapter.config.raw, m.written) is False]
    except MergeError as error:
        return f"{adapter.label}: PEFT does not load it: {error.problem}"
    if not lost:
        return ""
    return (
        f"{adapter.label}: {len(lost)} of {len(modules)} modules are merged that PEFT leaves out, "
        f"since target_modules and exclude_modules do not select them: {few(lost, 1)}"
    )


def _old_names(recipe: Recipe, adapters: Sequence[Adapter]) -> str:
    """Warn of names that current PEFT ignores, or fails on, with current transformers."""
    target = recipe.layout or adapters[0].layout
    names = [n for a in adapters for n in (*a.modules, *a.extras)]
    outside = any(layout.tower(n) in ("vision", "connector") for n in names)
    if target in (layout.HF_OLD, layout.FLAT) and outside:
        return (
            f"module names are written as {target}, which current PEFT does not load in full for "
            "vision modules and projectors; --layout hf writes current names"
        )
    return ""
