"""A merge as data: what the command line, a YAML file and Python all say in the same words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import yaml

from ..adapter.align import Missing
from ..errors import MergeError, unknown

DTYPES = ("float32", "float16", "bfloat16")
Extras = Literal["mean", "sum"]
Where = Literal["adapter", "beside"]
Parameters = Mapping[str, Any]
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
    scale: float | None = None
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
        scale: One factor on every merged update.
        rank: input (the largest of the inputs), full (sum of ranks), a number, or energy:0.99.
        dtype: Type of the output; that of the inputs where not given.
        seed: For random methods.
        missing: What to do with modules that some adapters lack.
        base: The base model: checked, written to the settings, and read for extras.
        same_base: Adapters may name different base models.
        layout: How modules are named in the output; as in the first adapter where not given.
        extras: How parameters trained whole are merged: mean, or sum (base plus all changes).
        extras_in: Whether they are written into the adapter or to a file beside it.
        modules: Overrides by pattern; later ones win.
    """

    adapters: tuple[str, ...]
    method: str = "robustmerge"
    parameters: Parameters = field(default_factory=lambda: _NONE)
    weights: tuple[float, ...] | None = None
    scale: float = 1.0
    rank: int | str = "input"
    dtype: str | None = None
    seed: int = 0
    missing: Missing = "refuse"
    base: str | None = None
    same_base: bool = False
    layout: str | None = None
    extras: Extras = "mean"
    extras_in: Where = "adapter"
    modules: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        """Check everything that needs no file."""
        _check_weights("weights", self.weights, len(self.adapters))
        _finite("scale", self.scale)
        _one_of("dtype", self.dtype, (*DTYPES, None))
        _one_of("missing", self.missing, get_args(Missing))
        _one_of("extras", self.extras, get_args(Extras))
        _one_of("extras_in", self.extras_in, get_args(Where))
        check_rank(self.rank)
        if not self.adapters:
            raise MergeError("no adapters", hint="name at least one adapter folder or Hub id")
        for override in self.modules:
            _check_weights(f"weights of {override.match}", override.weights, len(self.adapters))
            if override.scale is not None:
                _finite(f"scale of {override.match}", override.scale)

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
        _known("recipe", content, {f.name for f in fields(cls)}, where)
        values = dict(content)
        adapters = _names(values.get("adapters"), where)
        overrides = tuple(_override(item, where) for item in values.pop("modules", None) or ())
        if values.get("weights") is not None:
            values["weights"] = _numbers(values["weights"], where)
        parameters = values.pop("parameters", None) or {}
        _table("parameters", parameters, where)
        values.update(adapters=adapters, modules=overrides, parameters=MappingProxyType(parameters))
        try:
            return cls(**values)
        except MergeError as error:
            raise MergeError(error.problem, where=error.where or where, hint=error.hint) from None

    @classmethod
    def load(cls, path: Path) -> tuple[Recipe, str | None]:
        """Read a YAML recipe; also returns its `output`, if it names one.

        Paths in the file are relative to the file.

        Raises:
            MergeError: Not YAML, or not a recipe.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise MergeError(f"cannot read the recipe: {error}", where=str(path)) from None
        _table("the recipe", content, str(path))
        output = content.pop("output", None)
        recipe = cls.from_dict(content, where=str(path))
        near = [_beside(path, source) for source in recipe.adapters]
        base = _beside(path, recipe.base) if recipe.base else None
        return replace(recipe, adapters=tuple(near), base=base), output and _beside(
            path, output, True
        )


def check_rank(rank: int | str) -> None:
    """Check the words a rank may be given in.

    Raises:
        MergeError: It is none of them.
    """
    text = str(rank)
    try:
        ok = (
            text in ("input", "full")
            or (text.startswith("energy:") and 0 < float(text.removeprefix("energy:")) <= 1)
            or (not isinstance(rank, bool) and int(text) >= 1)
        )
    except ValueError:
        ok = False
    if not ok:
        raise MergeError(
            f"rank = {rank!r} is not possible",
            where="--rank",
            hint="it is input, full, a number from 1, or energy:SHARE such as energy:0.99",
        )


def _beside(recipe: Path, source: str, output: bool = False) -> str:
    """A path in a recipe, seen from the recipe; what is no path there is left as it is."""
    path = recipe.parent / Path(source).expanduser()
    return str(path) if output or path.exists() else source


def _override(item: object, where: str) -> Override:
    _table("an entry of modules", item, where)
    assert isinstance(item, Mapping)
    _known("override", item, {f.name for f in fields(Override)}, where)
    if not isinstance(item.get("match"), str):
        raise MergeError("an entry of modules has no `match` pattern", where=where)
    weights = _numbers(item["weights"], where) if item.get("weights") is not None else None
    parameters = MappingProxyType(dict(item.get("parameters") or {}))
    return Override(item["match"], parameters, item.get("scale"), weights)


def _names(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str | Path) for v in value):
        raise MergeError(
            "adapters must be a list of folders or Hub ids", where=where, hint="adapters: [a, b]"
        )
    return tuple(str(v) for v in value)


def _numbers(value: object, where: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not all(_is_number(v) for v in value):
        raise MergeError(f"weights = {value!r} is not a list of numbers", where=where)
    return tuple(float(v) for v in value)


def _table(what: str, value: object, where: str) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise MergeError(f"{what} must be a table of names and values", where=where)


def _known(kind: str, given: Mapping[str, object], names: set[str], where: str) -> None:
    for name in given:
        if name not in names:
            raise unknown(f"key of a {kind}", name, names, where=where)


def _check_weights(what: str, weights: tuple[float, ...] | None, n: int) -> None:
    if weights is None:
        return
    if len(weights) != n:
        raise MergeError(
            f"{len(weights)} {what} for {n} adapters",
            hint="give one weight per adapter, in their order",
        )
    for weight in weights:
        _finite(what, weight)


def _finite(what: str, value: object) -> None:
    if not _is_number(value) or not math.isfinite(float(value)):  # type: ignore[arg-type]
        raise MergeError(f"{what} = {value!r} is not a finite number")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_of(what: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise unknown(what, str(value), [str(k) for k in known if k is not None])


def _plain(value: Any) -> Any:
    if isinstance(value, Override):
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        return {k: _plain(v) for k, v in given.items() if v is not None and v != {}}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
