"""How families store gate and up of their experts, which the tensors of an adapter do not say.

Fused, they are one parameter of all experts, gate_up_proj; in checkpoints of most families, and in
adapters for vLLM, SGLang and transformers 4, they are two layers of every expert:

    model.layers.0.mlp.experts                 target_parameters: gate_up_proj and down_proj
    model.layers.0.mlp.experts.0.gate_proj     … and up_proj, down_proj

Source: conversion_mapping.py and the modeling files of transformers 5, ParamWrapper of PEFT 0.21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class ExpertStorage:
    """The experts of one family.

    Attributes:
        gate: What a checkpoint of single experts calls the layer.
        up: Likewise.
        down: Likewise.
        owners: What the module that has experts and router is called, fused and one by one.
        router: What the router is called if it is a parameter where experts are fused, and a
            linear layer where they are not; "" if it is a linear layer in both.
        alternating: Gate and up take turns in the outputs of gate_up_proj; else gate is before up.
        transposed: PEFT's factors are those of weights [d_in d_out].
    """

    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    owners: tuple[str, str] = ("mlp", "mlp")
    router: str = "gate"
    alternating: bool = False
    transposed: bool = False

    def fused_name(self, name: str) -> str:
        """Return the name that experts or a router have where experts are fused."""
        return self._owned_by(0, name)

    def single_name(self, name: str) -> str:
        """Return the name that they have where experts are stored one by one."""
        return self._owned_by(1, name)

    def half(self, number: int, outputs: int) -> slice:
        """Return which outputs of gate_up_proj are the gate's (0) or those of up (1).

        Args:
            number: Which of the two.
            outputs: How many there are together.
        """
        if self.alternating:
            return slice(number, None, 2)
        return slice(number * (outputs // 2), (number + 1) * (outputs // 2))

    @property
    def common(self) -> ExpertStorage:
        """The same experts under the names that most families give the layers of one."""
        return replace(self, gate=_QWEN.gate, up=_QWEN.up, down=_QWEN.down)

    def layers_as(self, names: ExpertStorage) -> dict[str, str]:
        """Return what `names` calls the layers of an expert, by this family's and common names."""
        return {
            own: name
            for of in (self.common, self)
            for own, name in ((of.gate, names.gate), (of.up, names.up), (of.down, names.down))
        }

    def is_router(self, name: str) -> bool:
        """Decide whether a module is a router that is a parameter where experts are fused."""
        owner, _, own = name.rpartition(".")
        return own == self.router and owner.rpartition(".")[2] in self.owners

    def _owned_by(self, generation: int, name: str) -> str:
        before, _, own = name.rpartition(".")
        stem, _, owner = before.rpartition(".")
        return f"{stem}.{self.owners[generation]}.{own}" if owner in self.owners else name


_QWEN = ExpertStorage()
_LLAMA4 = ExpertStorage(owners=("feed_forward", "feed_forward"), router="", transposed=True)
_QWENS = (
    *("qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_vl_moe", "qwen3_omni_moe", "qwen3_5_moe"),
    *("glm4_moe", "glm4v_moe", "deepseek_v2", "deepseek_v3", "olmoe", "ernie4_5_moe", "dots1"),
)
EXPERTS: Mapping[str, ExpertStorage] = MappingProxyType(
    {
        **dict.fromkeys(_QWENS, _QWEN),
        "mixtral": ExpertStorage("w1", "w3", "w2", owners=("mlp", "block_sparse_moe")),
        "gpt_oss": ExpertStorage(alternating=True, router="router"),
        "llama4": _LLAMA4,
        "llama4_text": _LLAMA4,
    }
)
"""The families whose experts are known, as transformers calls them."""

SINGLE_EXPERT = re.compile(r"(?P<module>.+\.experts)\.(?P<number>\d+)\.(?P<layer>[^.]+)")
"""The name of a layer of a single expert."""

GATES = frozenset(name for family in EXPERTS.values() for name in (family.gate, family.up))
"""What the layers of single experts are called that gate_up_proj has the place of."""
