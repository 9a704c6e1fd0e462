"""What a study compares: the base, its experts, ready adapters, and merges of the experts.

zero-shot                                    the base alone
individual                                   every expert, on its own task
{joint: adapters/joint, label: multi-task}   an adapter as it is
ties                                         a merge by a method at its defaults
{label: TA, method: task-arithmetic, scale: 0.3, rank: full, …}     whatever a recipe takes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from robustmerge import methods
from robustmerge.engine.recipe import Recipe
from robustmerge.engine.values import check_keys, check_table
from robustmerge.engine.yaml_file import relative_to
from robustmerge.errors import MergeError, few, shown, unknown, within
from robustmerge.methods import load_plugin

Kind = Literal["zero-shot", "individual", "joint", "merge"]

RECIPE = {item.name for item in fields(Recipe)} - {"adapters"}
_MERGE = RECIPE | {"label", "adapters"}
_READY = {"joint", "label"}
_PATHS = ("base", "data")


@dataclass(frozen=True)
class StudyContender:
    """Something that is examined on the study's tasks.

    Attributes:
        label: What tables call it.
        kind: The base, the experts, an adapter as it is, or a merge.
        source: The adapter, if it is one as it is.
        recipe: The merge, if it is one.
    """

    label: str
    kind: Kind
    source: str | None = None
    recipe: Recipe | None = None


def contenders(
    entries: object,
    adapters: Mapping[str, str],
    common: Mapping[str, Any],
    file: Path,
) -> tuple[StudyContender, ...]:
    """Read the methods of a study file.

    Args:
        entries: The list under `methods`.
        adapters: Folder or Hub id of every task's expert.
        common: What all merges have in common, as in a recipe.
        file: The study file, which paths start from.

    Raises:
        MergeError: An entry is impossible; the message says which.
    """
    if not isinstance(entries, list) or not entries:
        raise MergeError(
            f"methods = {shown(entries)} is not a list",
            where=str(file),
            hint="methods: [zero-shot, individual, ties, {label: TA, method: task-arithmetic}]",
        )
    _load_plugins(common, file)
    found = []
    for number, entry in enumerate(entries, 1):
        with within(f"{file}, entry {number} of methods"):
            found.append(_contender(entry, adapters, common, file))
    labels = [each.label for each in found]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise MergeError(
            f"several methods are called {few(twice)}",
            where=str(file),
            hint="give each a label of its own: {label: name, method: …}",
        )
    return tuple(found)


def _contender(
    entry: object, adapters: Mapping[str, str], common: Mapping[str, Any], file: Path
) -> StudyContender:
    if entry == "zero-shot":
        return StudyContender("zero-shot", "zero-shot")
    if entry == "individual":
        _need(adapters, "individual")
        return StudyContender("individual", "individual")
    if isinstance(entry, str):
        known = [*(method.name for method in methods.every()), "zero-shot", "individual"]
        if entry not in known:
            raise unknown("method", entry, known)
        entry = {"method": entry}
    check_table("an entry of methods", entry)
    assert isinstance(entry, Mapping)
    label = entry.get("label")
    if label is not None and (not isinstance(label, str) or not label.strip()):
        raise MergeError(f"label = {shown(label)} is not text", hint="label: TIES, density 0.3")
    if "joint" in entry:
        return _ready(entry, file)
    check_keys("merge", entry, _MERGE)
    return _merge(entry, adapters, common, file)


def _ready(entry: Mapping[str, Any], file: Path) -> StudyContender:
    check_keys("joint adapter", entry, _READY)
    if not isinstance(entry["joint"], str):
        raise MergeError(
            f"joint = {shown(entry['joint'])} is not an adapter",
            hint="joint: a folder, or a Hub id owner/name",
        )
    return StudyContender(entry.get("label", "joint"), "joint", relative_to(file, entry["joint"]))


def _merge(
    entry: Mapping[str, Any], adapters: Mapping[str, str], common: Mapping[str, Any], file: Path
) -> StudyContender:
    given = {**common, **{k: v for k, v in entry.items() if k not in ("label", "adapters")}}
    for name in _PATHS:
        if isinstance(given.get(name), str):
            given[name] = relative_to(file, given[name])
    given["plugins"] = _load_plugins(given, file)
    names = _names(entry.get("adapters"), adapters)
    recipe = Recipe.from_dict({**given, "adapters": [adapters[n] for n in names]}, where="")
    methods.get(recipe.method).configure(recipe.parameters)
    for override in recipe.modules:
        methods.get(recipe.method).configure({**recipe.parameters, **override.parameters})
    return StudyContender(entry.get("label", recipe.method), "merge", recipe=recipe)


def _load_plugins(given: Mapping[str, Any], file: Path) -> list[str]:
    """Load the plugins that settings name, so that their methods are known; their places."""
    plugins = given.get("plugins") or []
    if not isinstance(plugins, list):
        raise MergeError(f"plugins = {shown(plugins)} is not a list", hint="plugins: [mine.py]")
    found = [relative_to(file, str(plugin)) for plugin in plugins]
    for plugin in found:
        load_plugin(plugin)
    return found


def _names(chosen: object, adapters: Mapping[str, str]) -> Sequence[str]:
    """The experts that are merged, by their tasks; all unless some are named."""
    _need(adapters, "a merge")
    if chosen is None:
        return list(adapters)
    if not isinstance(chosen, list) or not chosen:
        raise MergeError(
            f"adapters = {shown(chosen)} is not a list of tasks",
            hint=f"adapters: [{few(list(adapters))}], of those the study names",
        )
    for name in chosen:
        if name not in adapters:
            raise unknown("adapter", str(name), adapters)
    return [str(name) for name in chosen]


def _need(adapters: Mapping[str, str], what: str) -> None:
    if not adapters:
        raise MergeError(
            f"{what} takes the experts, and the study names none",
            hint="adapters: {vqav2: adapters/vqav2, ocrvqa: owner/name}",
        )
