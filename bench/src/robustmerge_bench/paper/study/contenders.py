"""The contenders of a study: the base, its experts, ready adapters, and merges of the experts.

zero-shot                                    the base alone
individual                                   every expert, on its own task
{joint: adapters/joint, label: multi-task}   an adapter as it is
ties                                         a merge by a method at its defaults
{label: TA, method: task-arithmetic, scale: 0.3, rank: full, …}     all keys of a recipe
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from robustmerge import methods
from robustmerge.engine.data import check_model_needs
from robustmerge.engine.recipe import Recipe
from robustmerge.engine.values import check_keys, check_table
from robustmerge.engine.yaml_file import relative_to
from robustmerge.errors import MergeError, few, shown, within
from robustmerge.methods import load_plugin

from .values import check_known, check_list, check_once

Kind = Literal["zero-shot", "individual", "joint", "merge"]

RUN = "run plugins"
"""Whether plugins are run while a study is read: a dry run leaves them out."""
RECIPE = {item.name for item in fields(Recipe)} - {"adapters"}


@dataclass(frozen=True)
class StudyContender:
    """A row of the study's tables; `source` is of an adapter as it is, `recipe` of a merge."""

    label: str
    kind: Kind
    source: str | None = None
    recipe: Recipe | None = None


def read_contenders(
    entries: object,
    adapters: Mapping[str, str],
    common: Mapping[str, Any],
    file: Path,
    *,
    run_plugins: bool = True,
) -> tuple[StudyContender, ...]:
    """Read the list under `methods` of a study file.

    `adapters` are the experts by task, `common` settings of all merges; paths start from `file`.

    Raises:
        MergeError: A wrong entry, or a method of a plugin where none is run.
    """
    hint = "methods: [zero-shot, individual, ties, {label: TA, method: task-arithmetic}]"
    entries = check_list("methods", entries, hint)
    common = {**common, RUN: run_plugins}
    _load_plugins(common, file)
    contenders = []
    for number, entry in enumerate(entries, 1):
        with within(f"entry {number} of methods"):
            contenders.append(_read(entry, adapters, common, file))
    check_once(
        (each.label for each in contenders),
        "several methods are called {}",
        "give each a label of its own: {label: name, method: …}",
    )
    return tuple(contenders)


def _read(
    entry: object, adapters: Mapping[str, str], common: Mapping[str, Any], file: Path
) -> StudyContender:
    if entry == "zero-shot":
        return StudyContender("zero-shot", "zero-shot")
    if entry == "individual":
        _check_experts(adapters, "individual")
        return StudyContender("individual", "individual")
    if isinstance(entry, str):
        check_known("method", [entry], [*methods.names(), "zero-shot", "individual"])
        entry = {"method": entry}
    table = check_table("an entry of methods", entry)
    label = table.get("label")
    if label is not None and (not isinstance(label, str) or not label.strip()):
        raise MergeError(f"label = {shown(label)} is not text", hint="label: TIES, density 0.3")
    if "joint" not in table:
        return _read_merge(table, adapters, common, file)
    check_keys("joint adapter", table, {"joint", "label"})
    if not isinstance(table["joint"], str):
        raise MergeError(
            f"joint = {shown(table['joint'])} is not an adapter",
            hint="joint: a folder, or a Hub id owner/name",
        )
    return StudyContender(label or "joint", "joint", relative_to(file, table["joint"]))


def _read_merge(
    entry: Mapping[str, Any], adapters: Mapping[str, str], common: Mapping[str, Any], file: Path
) -> StudyContender:
    check_keys("merge", entry, RECIPE | {"label", "adapters"})
    settings = {**common, **entry}
    label = settings.pop("label", None)
    _load_plugins(settings, file)
    runs = settings.pop(RUN)
    names = _read_experts(entry.get("adapters"), adapters)
    experts = tuple(adapters[name] for name in names)
    recipe = Recipe.from_dict({**settings, "adapters": experts}, where="")
    recipe = replace(recipe.resolved_from(file), adapters=experts)  # which are resolved before
    if not runs and recipe.method not in methods.names():
        raise MergeError(
            f"no method {recipe.method!r} without the study's plugins, which a dry run leaves out",
            where="\n".join(recipe.plugins),
            hint="read them; the study itself runs them",
        )
    method = methods.get(recipe.method)
    for override in ({}, *(each.parameters for each in recipe.modules)):
        method.configure({**recipe.parameters, **override})
    check_model_needs(recipe, method)
    return StudyContender(label or recipe.method, "merge", recipe=recipe)


def _load_plugins(settings: Mapping[str, Any], file: Path) -> None:
    """Load plugins, so that their methods are known."""
    plugins = settings.get("plugins") or []
    plugins = check_list("plugins", plugins, "plugins: [mine.py]", empty=True)
    for plugin in plugins if settings[RUN] else ():
        load_plugin(relative_to(file, str(plugin)))


def _read_experts(names: object, adapters: Mapping[str, str]) -> Sequence[str]:
    """Return the tasks whose experts are merged; all unless some are named."""
    _check_experts(adapters, "a merge")
    if names is None:
        return list(adapters)
    hint = f"adapters: [{few(list(adapters))}], of those the study names"
    names = check_list("adapters", names, hint, of="tasks")
    check_known("adapter", names, adapters)
    return names


def _check_experts(adapters: Mapping[str, str], what: str) -> None:
    if not adapters:
        raise MergeError(
            f"{what} takes the experts, and the study names none",
            hint="adapters: {vqav2: adapters/vqav2, ocrvqa: owner/name}",
        )
