"""A merge as data: what the command line, a YAML file and Python all say in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from ..errors import MergeError, shown, within
from ..files import expand_user
from ..steps import ConfiguredStep, Stage, parse
from .options import MergeOptions, Read, check_fields, read_fields
from .values import (
    Parameters,
    check_keys,
    check_table,
    check_weights,
    read_numbers,
    read_parameters,
    read_paths,
    read_scale,
)
from .yaml_file import read_yaml, relative_to

_NONE: Parameters = MappingProxyType({})


def _read_pattern(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise MergeError("an entry of modules has no `match` pattern", hint="match: '*.mlp.*'")
    return value


@dataclass(frozen=True)
class Override:
    """Other settings for the modules whose canonical name matches a pattern.

    Attributes:
        match: Shell pattern, such as `*.mlp.*` or `*.layers.[0-9].*`.
        parameters: Parameters of the method.
        scale: Replaces the recipe's scale.
        weights: Replaces the recipe's weights.
    """

    match: Annotated[str, Read(_read_pattern)]
    parameters: Annotated[Parameters, Read(read_parameters)] = field(default_factory=lambda: _NONE)
    scale: Annotated[float | str | None, Read(read_scale)] = None
    weights: Annotated[tuple[float, ...] | None, Read(read_numbers)] = None

    def __post_init__(self) -> None:
        """Check every value."""
        check_fields(self, self.match)

    def covers(self, module: str) -> bool:
        """Return whether the pattern matches this canonical name."""
        return fnmatchcase(module, self.match)

    @classmethod
    def read(cls, entry: object) -> Override:
        """Read an entry of the recipe's `modules`."""
        if isinstance(entry, cls):
            return entry
        table = check_table("an entry of modules", entry)
        check_keys("override", table, {f.name for f in fields(cls)})
        return cls(**read_fields(cls, table, str(table.get("match"))))


def _read_overrides(name: str, value: object) -> tuple[Override, ...]:
    if not isinstance(value, list | tuple):
        raise MergeError(f"{name} is not a list", hint=f"{name}: [{{match: x}}]")
    return tuple(map(Override.read, value))


@dataclass(frozen=True)
class Recipe(MergeOptions):
    """Everything that determines the result.

    Attributes:
        adapters: Folders or Hub ids, in order.
        parameters: Parameters of the method, where they differ from the defaults.
        modules: Overrides by pattern; later ones win.
    """

    adapters: Annotated[tuple[str, ...], Read(read_paths)]
    parameters: Annotated[Parameters, Read(read_parameters)] = field(default_factory=lambda: _NONE)
    modules: Annotated[tuple[Override, ...], Read(_read_overrides)] = ()

    def __post_init__(self) -> None:
        """Check everything that needs no file."""
        super().__post_init__()
        if not self.adapters:
            raise MergeError("no adapters", hint="name at least one adapter folder or Hub id")
        check_weights("weights", self.weights, len(self.adapters))
        for override in self.modules:
            check_weights(f"weights of {override.match}", override.weights, len(self.adapters))
        self.steps("balance")
        self.steps("calibrate")

    @property
    def coefficients(self) -> tuple[float, ...]:
        """One weight per adapter: those given, or 1 each."""
        return self.weights or (1.0,) * len(self.adapters)

    def steps(self, stage: Stage) -> tuple[ConfiguredStep, ...]:
        """Return the steps of a stage, with their parameters.

        Raises:
            MergeError: an unknown step, or an impossible parameter
        """
        texts = self.balance if stage == "balance" else self.calibrate
        return tuple(parse(text, stage) for text in texts)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, without the settings that are not given."""
        first = ("adapters", "method", "parameters")
        options = [f.name for f in fields(MergeOptions) if f.name not in first]
        values = {name: getattr(self, name) for name in (*first, *options, "modules")}
        return {name: _plain(v) for name, v in values.items() if v not in (None, (), {})}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, where: str) -> Recipe:
        """Read a recipe from plain data.

        Raises:
            MergeError: an unknown key, or a value of another type or out of bounds
        """
        with within(where):
            check_keys("recipe", content, {f.name for f in fields(cls)})
            return cls(**read_fields(cls, content))

    @classmethod
    def load(cls, path: Path) -> tuple[Recipe, str | None]:
        """Read a YAML recipe, and its `output` if it names one.

        Paths in the file are relative to the file.
        """
        content = read_yaml(path, "recipe")
        output = content.pop("output", None)
        if output is not None and not isinstance(output, str):
            raise MergeError(
                f"output = {shown(output)} is not a path", where=str(path), hint="output: folder"
            )
        recipe = cls.from_dict(content, where=str(path)).resolved_from(path)
        return recipe, output and str(path.parent / expand_user(output))

    def resolved_from(self, file: Path) -> Recipe:
        """Return the recipe with its paths resolved from the folder of this file."""
        return replace(
            self,
            adapters=tuple(relative_to(file, source) for source in self.adapters),
            base=relative_to(file, self.base) if self.base else None,
            plugins=tuple(relative_to(file, plugin) for plugin in self.plugins),
            data=relative_to(file, self.data) if self.data else None,
            samples=tuple(relative_to(file, samples) for samples in self.samples),
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON and YAML have it."""
    if isinstance(value, Override):
        settings = {f.name: getattr(value, f.name) for f in fields(value)}
        return {k: _plain(v) for k, v in settings.items() if v is not None and v != {}}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
