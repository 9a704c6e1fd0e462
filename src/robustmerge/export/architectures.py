"""What llama.cpp calls a model, and which of its weights it stores in another order.

Rotary positions turn pairs of a head's rows. transformers pairs a row with that half a head
further on; llama.cpp's `llama` and its relatives pair neighbors, so that the rows of q_proj and
k_proj are interleaved there: row 2 i + j of a head is row i + j · size / 2 of it.

Source: the converters of llama.cpp, `conversion/`, October 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from ..errors import MergeError


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: llama.cpp's name, which base and adapter must have in common.
        interleaved: Whether the rows of q_proj and k_proj are.
    """

    name: str
    interleaved: bool = False


_LLAMA = Architecture("llama", interleaved=True)
_QWEN2_VL = Architecture("qwen2vl")

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "llama": _LLAMA,
        "mistral": _LLAMA,
        "mixtral": _LLAMA,
        "mistral3": Architecture("mistral3", interleaved=True),
        "ministral3": Architecture("mistral3", interleaved=True),
        "smollm3": Architecture("smollm3", interleaved=True),
        "granite": Architecture("granite", interleaved=True),
        "phi3": Architecture("phi3"),
        "gemma": Architecture("gemma"),
        "gemma2": Architecture("gemma2"),
        "gemma3": Architecture("gemma3"),
        "gemma3_text": Architecture("gemma3"),
        "qwen2": Architecture("qwen2"),
        "qwen2_moe": Architecture("qwen2moe"),
        "qwen2_vl": _QWEN2_VL,
        "qwen2_5_vl": _QWEN2_VL,
        "qwen3": Architecture("qwen3"),
        "qwen3_moe": Architecture("qwen3moe"),
        "qwen3_vl": Architecture("qwen3vl"),
        "qwen3_vl_moe": Architecture("qwen3vlmoe"),
    }
)
"""By `model_type` in config.json: of the whole model, or else of its `text_config`."""

UNCONVERTED = frozenset({"paligemma"})
"""Models that llama.cpp does not convert although it has their language model: no base in GGUF."""


@dataclass(frozen=True)
class LanguageModel:
    """What a base's settings say of its language model.

    Attributes:
        architecture: The architecture.
        layers: How many blocks it has.
        heads: Query heads.
        key_heads: Key heads.
        experts: Experts of a block, 0 where it has none.
        tied: Whether embeddings and head are one weight; None where the settings do not say it.
    """

    architecture: Architecture
    layers: int
    heads: int
    key_heads: int
    experts: int
    tied: bool | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], where: str) -> LanguageModel:
        """Read config.json.

        Raises:
            MergeError: a model that is not in ARCHITECTURES, or settings that are missing.
        """
        text = settings.get("text_config")
        tables = [settings, text] if isinstance(text, dict) else [settings]
        kinds = [str(table.get("model_type")) for table in tables]
        known = next((kind for kind in kinds if kind in ARCHITECTURES), None)
        if kinds[0] in UNCONVERTED:
            raise MergeError(
                f"llama.cpp converts no model of type {kinds[0]!r}: no base takes the adapter",
                where=where,
                hint="--format full adds it to the base's weights, for programs that run the model",
            )
        if known is None:
            raise MergeError(
                f"the model type {kinds[-1]!r} is not among those whose names in llama.cpp are "
                "known here",
                where=where,
                hint="llama.cpp's convert_lora_to_gguf.py may know it; known here: "
                f"{', '.join(sorted(ARCHITECTURES))}",
            )
        merged: dict[str, Any] = dict(tables[-1])
        ties = [t["tie_word_embeddings"] for t in tables if "tie_word_embeddings" in t]
        try:
            heads = int(merged["num_attention_heads"])
            return cls(
                ARCHITECTURES[known],
                layers=int(merged["num_hidden_layers"]),
                heads=heads,
                key_heads=int(merged.get("num_key_value_heads") or heads),
                experts=int(merged.get("num_experts") or merged.get("num_local_experts") or 0),
                tied=bool(ties[0]) if ties else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MergeError(
                f"the settings of the language model have no usable number: {error}",
                where=where,
                hint="--base is a model folder as transformers saves it",
            ) from None

    def reorder(self, B: Tensor, leaf: str) -> Tensor:
        """Return the rows of B [d_out rank] in llama.cpp's order.

        Raises:
            ValueError: the rows are no whole heads.
        """
        heads = {"q_proj": self.heads, "k_proj": self.key_heads}.get(leaf)
        if heads is None or not self.architecture.interleaved:
            return B
        if len(B) % (2 * heads):
            raise ValueError(f"{len(B)} rows are not {heads} heads of an even size")
        return B.view(heads, 2, len(B) // heads // 2, -1).transpose(1, 2).reshape(B.shape)
