"""Runs in the environment of the quantizers: bases as they write them, and what they stand for.

    python quantizer_client.py BASE OUT

writes OUT/FORMAT, the base in a format, and OUT/FORMAT.safetensors, its linear weights as the
library itself dequantizes them, in float32.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

BNB: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
}
COMPRESSED: dict[str, tuple[str, dict[str, Any]]] = {
    "packed-int4": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}),
    "packed-int3": ("pack-quantized", {"num_bits": 3, "strategy": "group", "group_size": 32}),
    "packed-zeros": (
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False},
    ),
    "channel-int8": ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
    "channel-fp8": ("float-quantized", {"num_bits": 8, "strategy": "channel", "type": "float"}),
}


def by_bitsandbytes(base: Path, out: Path, name: str) -> None:
    """Load a base in a type of bitsandbytes, save it, and dequantize every layer."""
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=BitsAndBytesConfig(**BNB[name]), dtype=torch.bfloat16
    )
    model.save_pretrained(out / name)
    dense = {}
    for module, layer in model.named_modules():
        if isinstance(layer, Linear4bit):
            state = layer.weight.quant_state
            state.dtype = torch.float32
            dense[f"{module}.weight"] = dequantize_4bit(layer.weight.data, state)
        elif isinstance(layer, Linear8bitLt):
            weight = layer.weight
            dense[f"{module}.weight"] = int8_vectorwise_dequant(weight.data, weight.SCB)
    save_file({k: v.float().contiguous() for k, v in dense.items()}, out / f"{name}.safetensors")


def by_compressed_tensors(base: Path, out: Path, name: str) -> None:
    """Compress every linear layer of a base, and decompress it."""
    form, settings = COMPRESSED[name]
    weights = QuantizationArgs(**settings)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    compressor = BaseCompressor.get_value_from_registry(form)
    tensors, dense = {}, {}
    for key, tensor in load_file(base / "model.safetensors").items():
        if not key.endswith("_proj.weight"):
            tensors[key] = tensor
            continue
        grouped = tensor.unflatten(1, (-1, settings.get("group_size") or tensor.shape[1]))
        scale, zero = calculate_qparams(grouped.amin(2), grouped.amax(2), weights)
        state = {"weight": tensor, "weight_scale": scale, "weight_zero_point": zero}
        state = compressor.compress(state, scheme)
        stem = key.removesuffix(".weight")
        tensors |= {f"{stem}.{part}": value for part, value in state.items()}
        wide = state | {"weight_scale": scale.float()}  # of whose type the result is
        dense[key] = compressor.decompress(wide, scheme)["weight"]
    (out / name).mkdir()
    save_file(tensors, out / name / "model.safetensors", metadata={"format": "pt"})
    save_file(dense, out / f"{name}.safetensors")
    shutil.copy(base / "config.json", out / name)
    path = out / name / "config.json"
    quantization = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": scheme.model_dump(mode="json")},
    }
    config = json.loads(path.read_text()) | {"quantization_config": quantization}
    path.write_text(json.dumps(config))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.mkdir(exist_ok=True)
    for each in BNB:
        by_bitsandbytes(source, target, each)
    for each in COMPRESSED:
        by_compressed_tensors(source, target, each)
