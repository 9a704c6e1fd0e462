r"""LoRA on fused experts, as PEFT's `target_parameters` saves it, and one module per expert.

E experts have one 3-D parameter, which PEFT wraps once. Factors of all experts are in one matrix:

    A [E·r, d_in]   experts are slowest:  A_e = A[e·r : (e+1)·r]
    B [d_out, r·E]  experts are fastest:  B_e = B[:, e::E]

Two parameters of one module are two wrappers, the inner one under `base_layer`. Their names do not
say which is which, their shapes do: gate_up_proj [2·I H] has as many inputs as down_proj [H I] has
outputs, and twice as many outputs as that has inputs. Where a family stores weights transposed,
outputs and inputs change places in both.

As modules `experts.0.gate_up_proj`, … the updates are merged by any method, an expert being a
module, and are fused again afterwards. Nothing is rounded but to the type of the result.

Source: ParamWrapper in PEFT 0.21 (tuners/lora/layer.py).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapter.config import AdapterConfig
from ..adapter.tensor_ref import TensorRef
from ..adapter.wrappers import PREFIX
from ..errors import MergeError
from ..factors import Factors
from .opened import SourceFolder

_FACTOR = re.compile(r"(?P<module>.+?)(?P<inner>\.base_layer)?\.lora_(?P<factor>[AB])\.weight")
_EXPERT = re.compile(r"(?P<module>.+)\.(?P<number>\d+)\.(?P<parameter>gate_up_proj|down_proj)")
GATE_UP, DOWN = "gate_up_proj", "down_proj"


@dataclass(frozen=True)
class FusedParameter:
    """The factors of one parameter of all experts of a module.

    Attributes:
        module: The module's name in the file, such as model.layers.0.mlp.experts.
        parameter: Which parameter of it.
        A: All A, [experts·rank d_in].
        B: All B, [d_out rank·experts].
        rank: The rank of every expert's update.
        scaling: The factor of every B A.
    """

    module: str
    parameter: str
    A: TensorRef
    B: TensorRef
    rank: int
    scaling: float

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return self.A.spec.shape[0] // self.rank

    def updates(self) -> Iterator[tuple[str, Factors]]:
        """Yield every expert's name and update; memory: the factors of all experts."""
        A, B = self.A.read(), self.B.read() * self.scaling
        for e in range(self.experts):
            own = Factors(A[e * self.rank : (e + 1) * self.rank], B[:, e :: self.experts])
            yield f"{self.module}.{e}.{self.parameter}", own


def fuse(updates: Sequence[Factors]) -> tuple[Tensor, Tensor]:
    """Return A [E·r, d_in] and B [d_out, r·E] of all experts' updates, which have one rank r."""
    A = torch.cat([update.A for update in updates])
    B = torch.stack([update.B for update in updates], dim=2).flatten(1)  # [d_out, rank·expert]
    return A, B


@dataclass(frozen=True)
class FusedAdapter:
    """An adapter with LoRA on fused experts, from the headers alone.

    Attributes:
        opened: Its folder.
        config: Its settings.
        fused: The parameters of experts.
        others: A and B of linear layers, by the module's name in the file.
    """

    opened: SourceFolder
    config: AdapterConfig
    fused: tuple[FusedParameter, ...]
    others: Mapping[str, tuple[TensorRef, TensorRef]]

    @classmethod
    def open(cls, source: str | Path) -> FusedAdapter:
        """Read settings and headers.

        Raises:
            MergeError: no fused experts, or shapes that do not settle which parameter is which.
        """
        opened = SourceFolder.open(source)
        targets = AdapterConfig(opened.settings, opened.raw).names("target_parameters")
        config = AdapterConfig.of({**opened.raw, "target_parameters": None}, opened.settings)
        if not targets:
            raise MergeError(
                "no target_parameters, so that no experts are fused",
                where=str(config.path),
                hint="merge the adapter as it is",
            )
        opened.check_promises(config, {})
        pairs = _pair(opened)
        fused: list[FusedParameter] = []
        others = {}
        for module, wrappers in pairs.items():
            owned = [t.rpartition(".")[2] for t in targets if _ends(module, t.rpartition(".")[0])]
            if owned:
                named = _name_parameters(module, list(wrappers.values()), owned, config)
                fused += [_parameter(module, *item, config) for item in named.items()]
            else:
                others[module] = wrappers[""]
        return cls(opened, config, tuple(fused), others)

    def updates(self) -> Iterator[tuple[str, Factors]]:
        """Yield the names and updates of all modules, those of single experts included."""
        for parameter in self.fused:
            yield from parameter.updates()
        for module, (a, b) in self.others.items():
            A, B = a.read(), b.read()
            yield module, Factors(A, B * self.config.scaling(module, len(A)))


def _pair(opened: SourceFolder) -> dict[str, dict[str, tuple[TensorRef, TensorRef]]]:
    """Return A and B by module, and within a module by wrapper: inner, or outer."""
    parts: dict[tuple[str, str], dict[str, TensorRef]] = defaultdict(dict)
    for name, ref in opened.tensors.items():
        match = _FACTOR.fullmatch(name)
        if match is None or len(ref.spec.shape) != 2:
            raise MergeError(
                "a tensor that is no factor of a linear layer or of experts",
                where=str(ref),
                hint="fully trained parameters and fused experts in one adapter are not converted",
            )
        key = match["module"], match["inner"] or ""
        parts[key][match["factor"]] = ref
    pairs: dict[str, dict[str, tuple[TensorRef, TensorRef]]] = defaultdict(dict)
    for (module, inner), factors in parts.items():
        if len(factors) != 2:
            raise MergeError(
                f"{module} has one factor of two",
                where=str(next(iter(factors.values()))),
                hint="the file is incomplete; save or fetch the adapter again",
            )
        pairs[module][inner] = factors["A"], factors["B"]
    return pairs


def _name_parameters(
    module: str,
    wrappers: Sequence[tuple[TensorRef, TensorRef]],
    owned: Sequence[str],
    config: AdapterConfig,
) -> dict[str, tuple[TensorRef, TensorRef]]:
    """Name the wrappers of a module: by the settings if there is one, by their shapes if two."""
    if len(wrappers) == 1 and len(owned) == 1:
        return {owned[0]: wrappers[0]}
    if len(wrappers) == 2 and set(owned) == {GATE_UP, DOWN}:
        for gate, down in (wrappers, wrappers[::-1]):
            (gate_in, gate_out), (down_in, down_out) = _sizes(gate), _sizes(down)
            straight = gate_in == down_out and gate_out == 2 * down_in
            transposed = gate_out == down_in and gate_in == 2 * down_out
            if straight or transposed:
                return {GATE_UP: gate, DOWN: down}
    shapes = ", ".join(f"{list(a.spec.shape)} and {list(b.spec.shape)}" for a, b in wrappers)
    raise MergeError(
        f"the shapes of {module} do not say which factors are whose: {shapes}",
        where=f"{wrappers[0][0].file.path}\n{config.path}: {', '.join(owned)}",
        hint=f"fused experts have {GATE_UP} and {DOWN}, or one of them",
    )


def _sizes(wrapper: tuple[TensorRef, TensorRef]) -> tuple[int, int]:
    """Return the inputs and outputs of a wrapper's updates."""
    a, b = wrapper
    return a.spec.shape[1], b.spec.shape[0]


def _parameter(
    module: str, parameter: str, wrapper: tuple[TensorRef, TensorRef], config: AdapterConfig
) -> FusedParameter:
    a, b = wrapper
    name = f"{module}.{parameter}"
    rank = config.rank_of(name)
    if a.spec.shape[0] != b.spec.shape[1] or a.spec.shape[0] % rank:
        raise MergeError(
            f"A is {list(a.spec.shape)}, B is {list(b.spec.shape)} and the rank {rank}: A's rows "
            "and B's columns must be experts times rank",
            where=f"{a}\n{b}",
            hint="the settings belong to another adapter; find the right file",
        )
    return FusedParameter(module, parameter, a, b, rank, config.scaling(name, rank))


def _ends(module: str, tail: str) -> bool:
    return f".{module}".endswith(f".{tail}")


def group_experts(names: Sequence[str], where: str) -> dict[tuple[str, str], list[str]]:
    """Return the names of single experts' modules in order, by module and parameter.

    Raises:
        MergeError: none, or an expert is missing.
    """
    groups: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in names:
        if match := _EXPERT.fullmatch(name):
            groups[match["module"], match["parameter"]][int(match["number"])] = name
    if not groups:
        raise MergeError(
            "no module of a single expert",
            where=where,
            hint="names are such as experts.0.down_proj",
        )
    count = max(max(group) for group in groups.values()) + 1
    for (module, parameter), group in groups.items():
        if missing := sorted(set(range(count)) - set(group)):
            raise MergeError(
                f"{module} has {count} experts, of which {missing[0]} has no {parameter}",
                where=where,
                hint="merge with --missing zero, so that every expert has an update",
            )
    return {key: [group[e] for e in range(count)] for key, group in groups.items()}


def fused_names(module: str, parameter: str, *, both: bool) -> tuple[str, str]:
    """Return the names of A and B; gate_up_proj is inside where a module has both parameters."""
    stem = f"{PREFIX}{module}" + (".base_layer" if both and parameter == GATE_UP else "")
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def fused_settings(
    plain: Mapping[str, Any], groups: Mapping[tuple[str, str], Sequence[str]]
) -> dict[str, Any]:
    """Return the settings of an adapter whose single experts are fused.

    Args:
        plain: Settings of plain LoRA for the linear layers alone.
        groups: The parameters, by module and name.
    """
    tails = {f"{'.'.join(module.split('.')[-2:])}.{p}" for module, p in groups}
    return {**plain, "target_parameters": sorted(tails)}
