"""How experts are written: fused or one by one, as in the first adapter that has them.

Adapters of one model may have its experts in different layouts, since PEFT, transformers and
servers write different ones. Fused and single experts are the same modules. Where gate and up are
two modules in one adapter and one in another, they are not, so that one has to be converted first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..adapter.expert_families import GATES
from ..adapter.reader import Adapter
from ..adapter.wrapped import GATE_UP, WrappedParameter
from ..errors import MergeError

_SINGLE = re.compile(r"(?P<owner>.+\.experts)\.\d+\.(?P<parameter>[^.]+)")
_KINDS = {GATE_UP: "together", **dict.fromkeys(GATES, "apart")}


def owner_of(name: str) -> str:
    """Return the module of experts that a module is of, "" where it is none of an expert's."""
    match = _SINGLE.fullmatch(name)
    return match["owner"] if match else ""


def plan_wrapping(
    names: Sequence[str], adapters: Sequence[Adapter]
) -> Mapping[str, WrappedParameter]:
    """Return the parameter, or part of it, that a module is in the output, where PEFT wraps it.

    Raises:
        MergeError: experts of one module would be written in two layouts.
    """
    chosen: dict[str, WrappedParameter] = {}
    for name in names:
        first = next(a.modules[name] for a in adapters if name in a.modules)
        if first.wrapped is not None:
            chosen[name] = first.wrapped
    _check_one_layout(names, chosen, adapters)
    parameters: dict[str, set[str]] = defaultdict(set)
    for wrapped in chosen.values():
        parameters[wrapped.module].add(wrapped.parameter)
    return {name: w.nested(parameters[w.module]) for name, w in chosen.items()}


def check_layouts(adapters: Sequence[Adapter]) -> None:
    """Check that no two adapters have the experts of a module in layouts that do not go together.

    Their modules differ in name then, which is no reason to count one of them as zero.

    Raises:
        MergeError: they have.
    """
    modules = {name: m for a in reversed(adapters) for name, m in a.modules.items()}
    wrapped = {name: m.wrapped for name, m in modules.items() if m.wrapped is not None}
    _check_one_layout(list(modules), wrapped, adapters)


def expert_notes(adapters: Sequence[Adapter], names: Sequence[str]) -> list[str]:
    """Say in which layout experts are written, where the adapters differ in it."""
    kinds: dict[str, str] = {}
    for adapter in adapters:
        for name in names:
            if (module := adapter.modules.get(name)) is not None and _SINGLE.fullmatch(name):
                kinds[adapter.label] = "fused" if module.wrapped else "one by one"
                break
    if len(set(kinds.values())) < 2:
        return []
    first = next(iter(kinds))
    return [
        f"experts are written {kinds[first]}, as in {first}; `robustmerge convert --layout` "
        "changes that"
    ]


def _check_one_layout(
    names: Sequence[str], wrapped: Mapping[str, WrappedParameter], adapters: Sequence[Adapter]
) -> None:
    owners: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if match := _SINGLE.fullmatch(name):
            kind = "fused" if name in wrapped else _KINDS.get(match["parameter"], "single")
            owners[match["owner"]][kind] = name
    for owner, kinds in owners.items():
        if ("fused" in kinds and len(kinds) > 1) or {"together", "apart"} <= kinds.keys():
            homes = {n: next(a.label for a in adapters if n in a.modules) for n in kinds.values()}
            raise MergeError(
                f"the experts of {owner} would be in two layouts",
                where="\n".join(f"{label}   {name}" for name, label in homes.items()),
                hint="`robustmerge convert A -o B --layout fused --base MODEL` brings an adapter "
                "into the layout of fused experts; merge those",
            )
