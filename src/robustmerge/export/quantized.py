"""What a full export of a quantized base writes in 16 bit, and which of two sums it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..adapter.header import read_header
from ..adapter.quantized import Dequantized
from ..adapter.quantized.view import SETTINGS, find_settings
from ..files import expand_user, read_json, write_json
from .rewrite import NewTensor

QUANTIZER_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Files by which programs find that weights are quantized: AutoGPTQ's, AutoAWQ's, ModelOpt's."""

_QUANTIZED_NAME = re.compile(
    r"[-_.](bnb[-_]?\dbit|[48]bit|fp8|nf4|fp4|awq|gptq|int[48]|w[48]a(8|16)|mxfp4)\b", re.IGNORECASE
)
"""How publishers name a model whose weights are quantized."""


def unpacked_weights(quantized: Dequantized, path: Path) -> dict[str, NewTensor]:
    """Return the weights that take the place of packed ones in a file, by their own names."""
    refs = [quantized.base.tensors[name] for name in quantized.weights]
    return {ref.name: NewTensor(ref.spec, ref.read) for ref in refs if ref.file.path == path}


def unpacked_size(quantized: Dequantized) -> int:
    """Return the bytes of the weights in 16 bit."""
    return sum(quantized.base.tensors[name].spec.nbytes for name in quantized.weights)


def describe_sum(adapters_base: str, quantized: Dequantized | None) -> str:
    """Say which weights the updates were added to, '' where that is no question.

    Args:
        adapters_base: What the adapter names as its base.
        quantized: The base of the export, if it is quantized.
    """
    if quantized is not None:
        return f"the rounded weights of the base ({quantized.label}), dequantized, in 16 bit"
    if _is_quantized(adapters_base):
        return f"the weights of the base, not the rounded ones of {adapters_base}"
    return ""


def without_quantization(path: Path) -> None:
    """Take the quantization out of config.json."""
    settings = read_json(path)
    for part in (settings, *(v for v in settings.values() if isinstance(v, dict))):
        for key in SETTINGS:
            part.pop(key, None)
    write_json(path, settings)


def write_index(path: Path) -> None:
    """Write the index of the shards that are there."""
    shards: dict[str, str] = {}
    size = count = 0
    for shard in sorted(path.parent.glob("*.safetensors")):
        with shard.open("rb") as file:
            entries = read_header(file, shard)
        shards |= dict.fromkeys(entries, shard.name)
        size += sum(entry.end - entry.begin for entry in entries.values())
        count += sum(math.prod(entry.shape) for entry in entries.values())
    index = read_json(path)
    metadata: Mapping[str, Any] = {"total_size": size, "total_parameters": count}
    known = index.get("metadata") if isinstance(index.get("metadata"), dict) else {}
    index["metadata"] = {
        **(known or {}),
        **{k: v for k, v in metadata.items() if k == "total_size" or k in (known or {})},
    }
    write_json(path, {**index, "weight_map": dict(sorted(shards.items()))})


def _is_quantized(name: str) -> bool:
    """Decide whether a model is quantized: by its settings where it is here, or by its name."""
    settings = expand_user(name) / "config.json" if name else Path()
    if settings.is_file():
        return bool(find_settings(read_json(settings)))
    return bool(_QUANTIZED_NAME.search(name))
