"""Which weights of llama.cpp an adapter updates, and what no adapter of llama.cpp can have.

It takes updates of the language model alone. The vision tower is a file of its own there (mmproj),
which no adapter changes; fully trained parameters have no tensor in an adapter either; and an
embedding and a head that are one weight can have no update of one of them.

Source: `convert_lora_to_gguf.py` of llama.cpp, October 2026, and its `llama-adapter.cpp`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..adapter import layout
from ..adapter.keys import Part
from ..adapter.reader import Adapter, LoraModule
from ..adapter.tensor_ref import TensorRef
from ..checks.runtimes.shared import part_patterns
from ..errors import MergeError, few
from .architectures import LanguageModel

_EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(\w+)")


@dataclass(frozen=True)
class UpdatedWeight:
    """One weight of llama.cpp, and what is added to it.

    Attributes:
        name: llama.cpp's name of the weight.
        modules: The module, or that of every expert by its number.
        experts: How many experts are one weight, 0 where the weight is one module's.
    """

    name: str
    modules: Mapping[int, LoraModule]
    experts: int = 0

    @property
    def rank(self) -> int:
        """The rank of the tensors, which is the largest of the experts'."""
        return max(module.rank for module in self.modules.values())

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of A and B as they are stored."""
        first = next(iter(self.modules.values()))
        d_out, d_in = first.shape
        A, B = (self.rank, d_in), (d_out, self.rank)
        if first.part is Part.EMBEDDING_A:
            A = (d_in, self.rank)  # rows are looked up
        return ((self.experts, *A), (self.experts, *B)) if self.experts else (A, B)


@dataclass(frozen=True)
class GgufPlan:
    """What is written.

    Attributes:
        model: The base's language model.
        weights: Its weights that have an update.
    """

    model: LanguageModel
    weights: tuple[UpdatedWeight, ...]


def plan_gguf(adapter: Adapter, settings: Mapping[str, Any], where: str) -> GgufPlan:
    """Find llama.cpp's name of every weight; nothing is read.

    Args:
        adapter: The adapter, of which modules may be left out.
        settings: The base's config.json.
        where: Its file.

    Raises:
        MergeError: a tensor that llama.cpp does not take, or an architecture that is not known.
    """
    model = LanguageModel.of(settings, where)
    _check_language_only(adapter)
    _check_kinds(adapter)
    _check_vocabulary(adapter, model, where)
    to_gguf = _name_map(model, where)
    groups: dict[tuple[str, int], dict[int, LoraModule]] = defaultdict(dict)
    for module in adapter.modules.values():
        # Language models of all families have the names of text-only ones there.
        name = layout.written(module.name, layout.FLAT).replace(".text_model.", ".")
        match = _EXPERT.fullmatch(name)
        number, experts = (int(match[2]), model.experts) if match else (0, 0)
        if match and number >= experts:
            raise _misfit(module, f"and its blocks have {experts} experts", where)
        known = to_gguf(f"{match[1]}.{match[3]}" if match else name)
        if known is None:
            raise _misfit(module, f"as {model.architecture.name} of {model.layers} blocks", where)
        groups[known, experts][number] = module
    weights = tuple(
        UpdatedWeight(name, dict(sorted(modules.items())), experts)
        for (name, experts), modules in groups.items()
    )
    _check_stacks(weights)
    _check_heads(weights, model, where)
    return GgufPlan(model, weights)


def _name_map(model: LanguageModel, where: str) -> Callable[[str], str | None]:
    """Return what finds llama.cpp's name of a module's weight."""
    try:
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    except ModuleNotFoundError:
        raise MergeError(
            "--format gguf needs the package gguf, which is not installed",
            hint="pip install 'robustmerge[gguf]'",
        ) from None
    kinds = {name: kind for kind, name in MODEL_ARCH_NAMES.items()}
    if (architecture := kinds.get(model.architecture.name)) is None:
        raise MergeError(
            f"the installed gguf package does not know {model.architecture.name}",
            where=where,
            hint="pip install -U gguf",
        )
    names = get_tensor_name_map(architecture, model.layers)

    def find(module: str) -> str | None:
        # Mixtral's experts have their first authors' names there.
        spellings = (
            module,
            re.sub(r"^model\.|(mlp|block_sparse_moe)(?=\.experts)", _mixtral, module),
        )
        known = (names.get_name(f"{s}.weight", try_suffixes=(".weight",)) for s in spellings)
        return next((name for name in known if name), None)

    return find


def _mixtral(match: re.Match[str]) -> str:
    return "feed_forward" if match[1] else ""


# --- What an adapter of llama.cpp cannot have ------------------------------------------------


def _check_language_only(adapter: Adapter) -> None:
    """Check that there are updates of the language model, and nothing else.

    Raises:
        MergeError: there are others.
    """
    other: dict[str, TensorRef] = {**adapter.extras, **adapter.bases}
    outside = [n for n in (*adapter.modules, *other) if layout.tower(n) in ("vision", "connector")]
    if outside:
        raise MergeError(
            f"{len(outside)} modules and parameters are outside the language model, such as "
            f"{outside[0]}; llama.cpp has these in a file of its own (mmproj), which no adapter "
            "changes",
            where=adapter.label,
            hint=f"to lose them knowingly: {part_patterns(outside)}; or bake all of it "
            "into the base: --format full, of which llama.cpp's converter makes both files",
        )
    if other:
        raise MergeError(
            f"{len(other)} fully trained parameters, which an adapter of llama.cpp does not have: "
            f"{few(list(other), 2)}",
            where=str(next(iter(other.values()))),
            hint="--format full bakes them into the base; or --leave-out with their names loses "
            "them knowingly",
        )


def _check_kinds(adapter: Adapter) -> None:
    """Check that every module is a linear layer, an embedding, or an expert's projection.

    Raises:
        MergeError: another one.
    """
    fused = re.compile(r".+\.experts\.\d+\.gate_up_proj")
    modules = adapter.modules.values()
    if odd := [m for m in modules if m.wrapped or m.kernel or fused.fullmatch(m.name)]:
        raise MergeError(
            "fused experts, other parameters and convolutions are not written in this format: "
            f"{few([m.name for m in odd], 1)}",
            where=str(odd[0].A),
            hint="`robustmerge convert A -o B --layout projections --base MODEL` makes modules of "
            "the experts' projections, which are written; --leave-out with the others' names loses "
            "them knowingly",
        )


def _check_vocabulary(adapter: Adapter, model: LanguageModel, where: str) -> None:
    """Check that embeddings and head are two weights where one of them has an update.

    Raises:
        MergeError: they may be one.
    """
    leaves = ("embed_tokens", "lm_head")
    adapted = [m for m in adapter.modules.values() if m.name.rpartition(".")[2] in leaves]
    if adapted and model.tied is not False:
        raise MergeError(
            f"LoRA on {adapted[0].name}, where the base "
            + ("ties" if model.tied else "may tie (config.json does not say it)")
            + " its embeddings and its head, and llama.cpp has one weight for both",
            where=f"{adapted[0].A}\n{where}",
            hint="--format full bakes it into the base; or --leave-out with its name loses it "
            "knowingly",
        )


def _check_stacks(weights: tuple[UpdatedWeight, ...]) -> None:
    for weight in weights:
        first, *others = weight.modules.values()
        for module in others:
            if module.shape != first.shape:
                raise MergeError(
                    f"{module.name} is {list(module.shape)} and {first.name} is "
                    f"{list(first.shape)}; experts of a block are one weight",
                    where=str(module.A),
                    hint="the adapter is damaged; save or fetch it again",
                )


def _check_heads(weights: tuple[UpdatedWeight, ...], model: LanguageModel, where: str) -> None:
    for module in (m for weight in weights for m in weight.modules.values()):
        try:
            model.reorder(torch.empty(module.shape[0], 1), module.name.rpartition(".")[2])
        except ValueError as error:
            raise _misfit(module, f"as a base of other heads: {error}", where) from None


def _misfit(module: LoraModule, why: str, where: str) -> MergeError:
    return MergeError(
        f"the base has no weight for {module.name} in llama.cpp, {why}",
        where=f"{module.A}\n{where}",
        hint="--base names the model that the adapter was trained on; or --leave-out with the "
        "module's name loses it knowingly",
    )
