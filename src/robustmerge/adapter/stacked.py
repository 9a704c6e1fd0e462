"""LoRA on experts as SGLang's trainers save it: every factor of all experts is one 3-D tensor.

    experts.w1   gate   A [1, r, d_in]   B [E, d_out, r]
    experts.w3   up     A [1, r, d_in]   B [E, d_out, r]
    experts.w2   down   A [E, r, d_in]   B [1, d_out, r]

The outer side, which meets the residual stream, is one for all experts ("shared outer"); SGLang
takes E there as well, if in all modules. Every expert is a module of its own here, under the names
that SGLang has inside, such as experts.0.gate_proj; a shared side is read for each of them.

Source: lora.py, mem_pool.py and lora_manager.py of SGLang 0.5.23, read; SGLang itself was not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import MergeError
from .config import AdapterConfig
from .keys import Part
from .tensor_ref import StackRef, TensorRef

NAMES: Mapping[str, str] = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
"""What SGLang's trainers call the tensors of a layer."""
SHARED: Mapping[str, Part] = {"gate_proj": Part.A, "up_proj": Part.A, "down_proj": Part.B}
"""The side of each layer that all experts share."""
_LAYERS = {**{written: layer for layer, written in NAMES.items()}, **{n: n for n in NAMES}}
_STACKED = re.compile(rf"(?P<owner>.+\.experts)\.(?P<layer>{'|'.join(_LAYERS)})")
Pair = tuple[TensorRef, TensorRef]


@dataclass(frozen=True)
class StackedLayer:
    """A layer of all experts, whose factors are two tensors.

    Attributes:
        written: Its name in the file, such as model.layers.0.mlp.experts.w1.
        owner: The module of the experts.
        layer: What a single expert's layer is called, such as gate_proj.
        experts: How many experts there are.
        shared: The side that is one for all, if any.
    """

    written: str
    owner: str
    layer: str
    experts: int
    shared: Part | None

    @classmethod
    def to_write(cls, owner: str, layer: str, experts: int) -> StackedLayer:
        """Return a layer as SGLang's trainers write it, its outer side shared."""
        return cls(f"{owner}.{NAMES[layer]}", owner, layer, experts, SHARED[layer])

    def module(self, expert: int) -> str:
        """Return the name of one expert's module."""
        return f"{self.owner}.{expert}.{self.layer}"


def find_stacked(config: AdapterConfig, pairs: Mapping[str, Pair]) -> dict[str, StackedLayer]:
    """Return the layers whose factors are those of all experts, by their names in the file.

    Args:
        config: The adapter's settings.
        pairs: A and B of all modules, by their names in the file.

    Raises:
        MergeError: shapes that do not go together, or do not say how many experts there are.
    """
    matches = {
        name: match
        for name, pair in pairs.items()
        if (match := _STACKED.fullmatch(name)) and all(len(f.spec.shape) == 3 for f in pair)
    }
    numbers: dict[str, int] = {}
    for name, match in matches.items():
        sizes = [factor.spec.shape[0] for factor in pairs[name]]
        numbers[match["owner"]] = max(numbers.get(match["owner"], 1), *sizes)
    layers = {}
    for name, match in matches.items():
        experts = numbers[match["owner"]]
        shared = _check(config, name, *pairs[name], experts)
        layers[name] = StackedLayer(name, match["owner"], _LAYERS[match["layer"]], experts, shared)
    return layers


def stacked_factors(layer: StackedLayer, A: TensorRef, B: TensorRef) -> list[Pair]:
    """Return every expert's factors."""
    return [(_of(A, e), _of(B, e)) for e in range(layer.experts)]


def _of(factor: TensorRef, expert: int) -> TensorRef:
    number, *shape = factor.spec.shape
    spec = replace(factor.spec, shape=tuple(shape))
    return StackRef(factor.file, factor.name, spec, min(expert, number - 1))


def _check(
    config: AdapterConfig, name: str, A: TensorRef, B: TensorRef, experts: int
) -> Part | None:
    """Return the side that all experts share."""
    a, b = A.spec.shape, B.spec.shape
    where = f"{A}   {list(a)}\n{B}   {list(b)}"
    if experts == 1:
        raise MergeError(
            f"{name} is one for all experts on both sides, so that the file does not say how many "
            "there are",
            where=where,
            hint="of gate and up, B has an axis of all experts, and of down, A has",
        )
    if {a[0], b[0]} - {1, experts} or a[1] != b[2] or a[1] != config.rank_of(name):
        raise MergeError(
            f"the factors of {experts} experts are [1 or {experts}, rank, inputs] and "
            f"[1 or {experts}, outputs, rank], of rank {config.rank_of(name)}",
            where=f"{where}\n{config.path}",
            hint="the file is damaged, or the settings belong to another adapter",
        )
    return Part.A if a[0] < b[0] else Part.B if b[0] < a[0] else None
