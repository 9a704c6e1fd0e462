"""A merge as data: what the command line, a YAML file and Python all say in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..adapter.align import Missing
from ..errors import MergeError, shown, within
from ..files import expand_user
from ..steps import ConfiguredStep, Stage, parse
from .values import (
    Dora,
    Extras,
    Over,
    Parameters,
    Where,
    check_choices,
    check_keys,
    check_rank,
    check_scale,
    check_table,
    check_types,
    check_weights,
    names,
    numbers,
    scale,
    single_values,
    step_list,
)
from .yaml_file import beside, read_yaml

_NONE: Parameters = MappingProxyType({})


@dataclass(frozen=True)
class Override:
    """Other settings for the modules whose canonical name matches a pattern.

    Attributes:
        match: Shell pattern, such as `*.mlp.*` or `*.layers.[0-9].*`.
        parameters: Parameters of the method.
        scale: Replaces the recipe's scale.
        weights: Replaces the recipe's weights.
    """

    match: str
    parameters: Parameters = field(default_factory=lambda: _NONE)
    scale: float | str | None = None
    weights: tuple[float, ...] | None = None

    def covers(self, module: str) -> bool:
        """Whether the pattern matches this canonical name."""
        return fnmatchcase(module, self.match)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result.

    Attributes:
        adapters: Folders or Hub ids, in order.
        method: Name of the merge method.
        parameters: Its parameters, where they differ from the defaults.
        weights: One coefficient per adapter; 1 each where not given.
        scale: One factor on every merged update, or the rule it is found by.
        scale_over: Whether a rule finds one factor for the model, or one for every module.
        balance: Steps before the merge, such as `norms:exponent=0.5`.
        calibrate: Steps after the merge, such as `svc`.
        rank: input (the largest of the inputs), full (sum of ranks), a number, or energy:0.99.
        dtype: Type of the output; that of the inputs where not given.
        seed: For random methods.
        missing: What to do with modules that some adapters lack.
        base: The base model: checked, written to the settings, and read for extras.
        same_base: Adapters may name different base models.
        layout: How modules are named in the output; as in the first adapter where not given.
        extras: How parameters trained whole are merged: mean, or sum (base plus all changes).
        extras_in: Whether they are written into the adapter or to a file beside it.
        plugins: Files or modules that register methods.
        data: Folder of statistics, as `robustmerge collect` writes it, for methods that need it.
        modules: Overrides by pattern; later ones win.
    """

    adapters: tuple[str, ...]
    method: str = "robustmerge"
    parameters: Parameters = field(default_factory=lambda: _NONE)
    weights: tuple[float, ...] | None = None
    scale: float | str = 1.0
    scale_over: Over = "model"
    balance: tuple[str, ...] = ()
    calibrate: tuple[str, ...] = ()
    rank: int | str = "input"
    dtype: str | None = None
    seed: int = 0
    missing: Missing = "refuse"
    base: str | None = None
    same_base: bool = False
    layout: str | None = None
    extras: Extras = "mean"
    extras_in: Where = "adapter"
    dora: Dora = "refuse"
    plugins: tuple[str, ...] = ()
    data: str | None = None
    modules: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        """Check everything that needs no file."""
        check_weights("weights", self.weights, len(self.adapters))
        check_scale("scale", self.scale)
        check_choices(vars(self))
        check_rank(self.rank)
        self.steps("balance")
        self.steps("calibrate")
        if not self.adapters:
            raise MergeError("no adapters", hint="name at least one adapter folder or Hub id")
        for override in self.modules:
            check_weights(f"weights of {override.match}", override.weights, len(self.adapters))
            if override.scale is not None:
                check_scale(f"scale of {override.match}", override.scale)

    def steps(self, stage: Stage) -> tuple[ConfiguredStep, ...]:
        """The steps of a stage, with their parameters.

        Raises:
            MergeError: There is no such step, or a parameter is impossible.
        """
        texts = self.balance if stage == "balance" else self.calibrate
        return tuple(parse(text, stage) for text in texts)

    @property
    def energy(self) -> float | None:
        """The share of energy asked for, where the rank is given by energy."""
        rank = str(self.rank)
        return float(rank.removeprefix("energy:")) if rank.startswith("energy:") else None

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data; settings that are not given are left out."""
        plain: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None or value == () or value == {}:
                continue
            plain[item.name] = _plain(value)
        return plain

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, where: str) -> Recipe:
        """Read a recipe from plain data.

        Raises:
            MergeError: An unknown key or an impossible value.
        """
        with within(where):
            return cls._checked(content)

    @classmethod
    def _checked(cls, content: Mapping[str, Any]) -> Recipe:
        check_keys("recipe", content, {f.name for f in fields(cls)})
        values = {name: value for name, value in content.items() if value is not None}
        check_types(values)
        check_choices(values)
        modules = values.get("modules", [])
        if not isinstance(modules, list | tuple):
            raise MergeError("modules is not a list", hint="modules: [{match: x}]")
        if "weights" in values:
            values["weights"] = numbers(values["weights"])
        if "scale" in values:
            values["scale"] = scale("scale", values["scale"])
        for stage in ("balance", "calibrate"):
            if stage in values:
                values[stage] = step_list(stage, values[stage])
        values["adapters"] = names("adapters", values.get("adapters"))
        if "plugins" in values:
            values["plugins"] = names("plugins", values["plugins"])
        values["modules"] = tuple(_override(item) for item in modules)
        values["parameters"] = single_values(values.get("parameters", {}))
        return cls(**values)

    @classmethod
    def load(cls, path: Path) -> tuple[Recipe, str | None]:
        """Read a YAML recipe; also returns its `output`, if it names one.

        Paths in the file are relative to the file.

        Raises:
            MergeError: Not YAML, or not a recipe.
        """
        content = read_yaml(path, "recipe")
        output = content.pop("output", None)
        if output is not None and not isinstance(output, str):
            raise MergeError(
                f"output = {shown(output)} is not a path", where=str(path), hint="output: folder"
            )
        recipe = cls.from_dict(content, where=str(path))
        near = [beside(path, source) for source in recipe.adapters]
        base = beside(path, recipe.base) if recipe.base else None
        plugins = tuple(beside(path, plugin) for plugin in recipe.plugins)
        data = beside(path, recipe.data) if recipe.data else None
        found = replace(recipe, adapters=tuple(near), base=base, plugins=plugins, data=data)
        return found, output and str(path.parent / expand_user(output))


def _override(item: object) -> Override:
    check_table("an entry of modules", item)
    assert isinstance(item, Mapping)
    check_keys("override", item, {f.name for f in fields(Override)})
    if not isinstance(item.get("match"), str):
        raise MergeError("an entry of modules has no `match` pattern", hint="match: '*.mlp.*'")
    weights = numbers(item["weights"]) if item.get("weights") is not None else None
    parameters = single_values(item.get("parameters") or {})
    match, given = item["match"], item.get("scale")
    if given is not None:
        given = scale(f"scale of {match}", given)
    return Override(match, parameters, given, weights)


def _plain(value: Any) -> Any:
    if isinstance(value, Override):
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        return {k: _plain(v) for k, v in given.items() if v is not None and v != {}}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
