"""How modules are named in the result: as the inputs name them, as the base does, as readers know.

What has the inputs' own names loads wherever they load, on every generation of transformers. Where
the base is a folder on this machine, its headers say which names there are; a base that is only
named is not fetched for that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ..adapter import layout
from ..adapter.base import Base, is_checkpoint
from ..adapter.base_experts import misfit_of_experts
from ..adapter.base_updates import is_in_fused
from ..adapter.reader import Adapter
from ..adapter.source import local_folder
from ..checks.contents import Contents
from ..checks.family import candidates
from ..errors import MergeError, few
from ..families import BY_NAME
from .recipe import Recipe


@dataclass(frozen=True)
class Naming:
    """How a merge names its modules.

    Attributes:
        recipe: The recipe, with the layout that the base asks for.
        vision: The base is known to be a vision-language model.
    """

    recipe: Recipe
    vision: bool


def plan_names(adapters: Sequence[Adapter], names: Sequence[str], recipe: Recipe) -> Naming:
    """Compare names with the base, if it is on this machine, and the layout with the family.

    Args:
        adapters: The opened inputs.
        names: Canonical names of the modules to merge.
        recipe: What to merge, and how.

    Raises:
        MergeError: a module is not in the base, or no model was ever named in this layout.
    """
    first = adapters[0]
    base = _open_base(recipe.base)
    contents = Contents(first.label, first.config, tuple(first.files), first, (), base)
    try:
        if base is not None:
            _check_names(names, base, adapters)
            if base.text_only and recipe.layout is None and first.layout != layout.FLAT:
                recipe = replace(recipe, layout="flat")
        families = candidates(contents)
        _check_layout(recipe, families, adapters)
        known = any(name in BY_NAME for name in families) and not (base and base.text_only)
        return Naming(recipe, known or contents.text_only is False)
    finally:
        if base is not None:
            base.close()


def _open_base(source: str | None) -> Base | None:
    folder = local_folder(source) if source is not None else None
    return Base(str(folder)) if folder is not None and is_checkpoint(folder) else None


def _check_names(names: Collection[str], base: Base, adapters: Sequence[Adapter]) -> None:
    # The original LLaVA code keeps its vision tower in a checkpoint of its own.
    apart = not any(layout.tower(name) == "vision" for name in base.modules)
    modules = {n: m for a in adapters for n, m in a.modules.items()}
    wrapped = {n: m for n, m in modules.items() if m.wrapped}
    absent = [
        name
        for name in names
        if not (name in wrapped and not misfit_of_experts(base, wrapped[name]))
        and not (name in modules and is_in_fused(base, modules[name]))
        and name.replace(".base_layer", "") not in base.modules
        and not (apart and layout.tower(name) == "vision")
    ]
    # A checkpoint of a projector alone says nothing about the layers' names.
    if not absent or not any(".layers." in name for name in base.modules):
        return
    near = get_close_matches(absent[0], base.modules, n=1)
    raise MergeError(
        f"{len(absent)} of {len(names)} modules are not in the base: {few(absent)}"
        + (f"; the nearest is {near[0]}" if near else ""),
        where=f"{few([a.label for a in adapters])}\n{base.label}",
        hint="names of the result come from the base: name the model that the adapters were "
        "trained on, or rename the tensors if something wraps it",
    )


def _check_layout(recipe: Recipe, families: Sequence[str], adapters: Sequence[Adapter]) -> None:
    rows = [BY_NAME[name] for name in families if name in BY_NAME]
    wanted = recipe.layout
    if wanted in (None, layout.HF) or not rows or len(rows) < len(families):
        return
    if wanted == adapters[0].layout or any(wanted in row.anatomy.written for row in rows):
        return
    known = sorted({layout.HF, *(name for row in rows for name in row.anatomy.written)})
    raise MergeError(
        f"no {' or '.join(row.title for row in rows)} was ever named in the layout {wanted}, and "
        "nothing reads it",
        where=f"--layout {wanted}",
        hint=f"--layout {' or '.join(known)}, or none for the adapters' own names",
    )
