"""Experts whose outer side is one for all, as the 3-D tensors of SGLang's trainers.

A of gate and up, which read the residual stream, and B of down, which writes it, must be the same
for all experts of a module. That holds for adapters that were trained so, and for their exact sum
(`-m task-arithmetic --rank full`), and hardly for any other.

Cost: the factors of every expert are read once more, to compare them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..adapter.keys import Part
from ..adapter.stacked import SHARED, StackedLayer
from ..errors import MergeError
from .experts import NamedUpdate

_HINT = (
    "--layout sglang writes one module for every expert, which SGLang takes, too; a merge of "
    "adapters with shared sides keeps them with -m task-arithmetic --rank full"
)


def share_outer(updates: Sequence[NamedUpdate], where: str) -> list[NamedUpdate]:
    """Write the layers of all experts of a module as one, with one outer side.

    Raises:
        MergeError: an expert is missing, or they differ where they would share a side.
    """
    groups: dict[tuple[str, str], dict[int, NamedUpdate]] = defaultdict(dict)
    for update in updates:
        owner, number, layer = update.expert
        if layer in SHARED:
            groups[owner, layer][number] = update
    experts: dict[str, int] = defaultdict(int)
    for (owner, _), group in groups.items():
        experts[owner] = max(experts[owner], 1 + max(group))
    for (owner, layer), group in groups.items():
        _check(owner, layer, group, experts[owner], where)
    layers = {
        (owner, layer): StackedLayer.to_write(owner, layer, experts[owner])
        for owner, layer in groups
    }
    return [replace(u, stacked=layers.get((u.expert[0], u.expert[2]))) for u in updates]


def _check(
    owner: str, layer: str, group: Mapping[int, NamedUpdate], experts: int, where: str
) -> None:
    if missing := sorted(set(range(experts)) - set(group)):
        raise MergeError(
            f"{owner} has {experts} experts, of which {missing[0]} has no {layer}",
            where=where,
            hint="merge with --missing zero, so that every expert has an update",
        )
    side = SHARED[layer]
    first = _side(group[0], side)
    for number in range(1, experts):
        if not torch.equal(first, _side(group[number], side)):
            raise MergeError(
                f"{layer}: experts 0 and {number} of {owner} differ in {side.name}, and the layout "
                f"has one {side.name} for all",
                where=where,
                hint=_HINT,
            )


def _side(update: NamedUpdate, side: Part) -> Tensor:
    factors = update.read()
    return factors.A if side is Part.A else factors.B
