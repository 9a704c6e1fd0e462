"""Bases in 4 and 8 bit: dequantized, added to, and written in 16 bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from factories.adapters import LLM, adapter, deltas
from factories.checkpoints import base, weights
from factories.quantized import FORMATS, fp8, gptq, pack
from faults.refuse import refused, tree
from robustmerge.adapter.base import Base
from robustmerge.adapter.quantized import dequantized
from robustmerge.adapter.quantized.integers import unpack
from robustmerge.export import export_adapter

INDEX = "model.safetensors.index.json"
LEFT = "model.language_model.layers.0.self_attn.q_proj"
"""A module that is not quantized, as quantizers leave single ones out."""


def quantized_base(
    folder: Path, name: str, *, cuts: tuple[int, ...] = (), **settings: Any
) -> dict[str, Tensor]:
    """Write a base in a format; return what its quantized weights stand for."""
    quantization, make, options = FORMATS[name]
    tensors, dense = weights(torch.bfloat16), {}
    for seed, (module, shape) in enumerate(LLM.items()):
        if module != LEFT and shape[0] % 8 == 0:  # AWQ has eight outputs to a word
            del tensors[f"{module}.weight"]
            parts, dense[module] = make(shape, seed, **options)
            tensors |= {f"{module}{suffix}": part for suffix, part in parts.items()}
    quantization = {**quantization, **settings}
    base(folder, tensors, cuts=cuts, quantization_config=quantization, torch_dtype="bfloat16")
    (folder / "quantize_config.json").write_text("{}")
    return dense


def read(folder: Path) -> dict[str, Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.parametrize("cuts", [(), (5, 9)], ids=["one file", "shards"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_sum_with_what_the_packed_weights_stand_for(
    name: str, cuts: tuple[int, ...], tmp_path: Path
) -> None:
    dense = quantized_base(tmp_path / "base", name, cuts=cuts)
    adapter(tmp_path / "a", base_model_name_or_path=str(tmp_path / "base"))
    report = export_adapter(tmp_path / "a", tmp_path / "out", format="full")
    changes, plain, result = deltas(tmp_path / "a"), weights(torch.bfloat16), read(tmp_path / "out")
    assert result.keys() == plain.keys()
    for key, tensor in plain.items():
        module = key.removesuffix(".weight")
        start = dense.get(module, tensor.double() if tensor.is_floating_point() else tensor)
        want = start + changes[module] if module in changes else start
        assert result[key].dtype == tensor.dtype, key
        torch.testing.assert_close(result[key], want.to(tensor.dtype), rtol=2**-7, atol=1e-6)
        exact = (result[key] == want.to(tensor.dtype)).double().mean()
        assert exact > 0.98, key  # the rest are ties of the rounding, decided by float32 sums
    assert "rounded weights" in report.onto
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["onto"] == report.onto


@pytest.mark.parametrize("cuts", [(), (5, 9)], ids=["one file", "shards"])
def test_no_trace_of_the_quantization_is_left(cuts: tuple[int, ...], tmp_path: Path) -> None:
    quantized_base(tmp_path / "base", "nf4", cuts=cuts)
    adapter(tmp_path / "a")
    export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(tmp_path / "base"))
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings == {"model_type": "llava", "torch_dtype": "bfloat16"}
    assert not (tmp_path / "out" / "quantize_config.json").exists()
    if cuts:
        index, tensors = json.loads((tmp_path / "out" / INDEX).read_text()), read(tmp_path / "out")
        assert index["weight_map"].keys() == tensors.keys()
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        assert index["metadata"]["total_size"] == size
        for name, shard in index["weight_map"].items():
            assert name in load_file(tmp_path / "out" / shard)


def test_the_sum_with_the_original_weights(tmp_path: Path) -> None:
    quantized_base(tmp_path / "rounded", "nf4")
    adapter(tmp_path / "a", base_model_name_or_path=str(tmp_path / "rounded"))
    original = base(tmp_path / "base")
    report = export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(original))
    assert report.onto == f"the weights of the base, not the rounded ones of {tmp_path / 'rounded'}"
    for module, delta in deltas(tmp_path / "a").items():
        want = weights()[f"{module}.weight"].double() + delta
        result = read(tmp_path / "out")[f"{module}.weight"].double()
        torch.testing.assert_close(result, want, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "rounded"),
    [("unsloth/Qwen3-8B-bnb-4bit", True), ("Qwen/Qwen3-8B-FP8", True), ("Qwen/Qwen3-8B", False)],
)
def test_a_quantized_base_is_known_by_its_name(name: str, rounded: bool, tmp_path: Path) -> None:
    adapter(tmp_path / "a", base_model_name_or_path=name)
    original = str(base(tmp_path / "base"))
    report = export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=original)
    assert (name in report.onto) == rounded


def view(folder: Path, tensors: Mapping[str, Tensor], **quantization: Any) -> dict[str, Tensor]:
    """Return the dequantized weights of tensors that are stored so."""
    base(folder, tensors, quantization_config=quantization)
    result = dequantized(Base(str(folder)))
    assert result is not None
    return {name: result.base.tensors[name].read() for name in result.weights}


@pytest.mark.parametrize("shape", [(24, 16), (40, 48)])
def test_fp8_as_transformers_dequantizes_it(shape: tuple[int, int], tmp_path: Path) -> None:
    parts, _ = fp8(shape, 3)
    tensors = {f"{LEFT}{suffix}": part for suffix, part in parts.items()}
    (got,) = view(tmp_path / "b", tensors, quant_method="fp8", weight_block_size=[8, 8]).values()
    stored, scales = parts.values()
    want = Fp8Dequantize(None)._dequantize_one(stored, scales, torch.float32)
    assert torch.equal(got, want)


def test_fp8_blocks_that_are_cut_off(tmp_path: Path) -> None:
    parts, dense = fp8((20, 13), 3)
    tensors = {f"{LEFT}{suffix}": part for suffix, part in parts.items()}
    (got,) = view(tmp_path / "b", tensors, quant_method="fp8", weight_block_size=[8, 8]).values()
    torch.testing.assert_close(got.double(), dense, rtol=1e-6, atol=0)


def test_exponents_in_a_byte(tmp_path: Path) -> None:
    stored = torch.randn(4, 64).to(torch.float8_e4m3fn)
    exponents = torch.randint(120, 134, (4, 2), dtype=torch.uint8)
    tensors = {f"{LEFT}.weight": stored, f"{LEFT}.weight_scale_inv": exponents}
    (got,) = view(tmp_path / "b", tensors, quant_method="mxfp8").values()
    want = Fp8Dequantize(None)._dequantize_one(stored, exponents, torch.float32)
    assert torch.equal(got, want)


def test_experts_of_gpt_oss_as_transformers_dequantizes_them(tmp_path: Path) -> None:
    blocks = torch.randint(0, 256, (3, 10, 2, 16), dtype=torch.uint8)
    scales = torch.randint(120, 134, (3, 10, 2), dtype=torch.uint8)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = {f"{name}_blocks": blocks, f"{name}_scales": scales}
    (got,) = view(tmp_path / "b", tensors, quant_method="mxfp4").values()
    want = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    assert torch.equal(got, want)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_of_every_width(bits: int, tmp_path: Path) -> None:
    parts, dense = gptq((64, 96), 1, bits=bits, group=32, ordered=False)
    tensors = {f"{LEFT}{suffix}": part for suffix, part in parts.items()}
    (got,) = view(tmp_path / "b", tensors, quant_method="gptq", bits=bits).values()
    torch.testing.assert_close(got.double(), dense, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", range(1, 9))
def test_numbers_in_a_stream_of_bits(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    numbers = torch.randint(0, 2**bits, (5, 67), generator=generator)
    assert torch.equal(unpack(pack(numbers, bits), bits, 67).long(), numbers)


GROUPS = {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}
REFUSED: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "unknown": ("awq", {"quant_method": "aqlm"}, "quantized by aqlm, which is not read"),
    "gemv": ("awq", {"version": "gemv"}, "version = 'gemv'"),
    "marlin": ("gptq", {"checkpoint_format": "marlin"}, "checkpoint_format = 'marlin'"),
    "nvfp4": ("fp8 tensor", {"quant_algo": "NVFP4"}, "quant_algo = 'NVFP4'"),
    "mixed": ("compressed", {"config_groups": GROUPS}, "config_groups = "),
    "other tensors": ("gptq", {"quant_method": "fp8"}, "which is no part of a weight as fp8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_its_name(case: str, tmp_path: Path) -> None:
    name, settings, message = REFUSED[case]
    quantized_base(tmp_path / "base", name, **settings)
    adapter(tmp_path / "a")
    before = tree(tmp_path)
    given = str(tmp_path / "base")
    refused(
        lambda: export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=given),
        message,
        "name the model in float32, float16 or bfloat16 by --base",
    )
    assert tree(tmp_path) == before


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    quantized_base(tmp_path / "base", "gptq")
    path = tmp_path / "base" / "model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if not k.endswith("qzeros")}, path)
    adapter(tmp_path / "a")
    given = str(tmp_path / "base")
    refused(
        lambda: export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=given),
        "the part '.qzeros' of a quantized weight is missing",
    )
    assert not (tmp_path / "out").exists()


def cut(tensor: Tensor) -> Tensor:
    """Return the first entries alone."""
    return tensor.flatten()[:4].clone()


DAMAGE: Mapping[str, tuple[str, str]] = {
    "gptq": (".qweight", "parts of"),
    "gptq v2": (".qzeros", "parts of"),
    "awq": (".scales", "parts of"),
    "nf4": (".weight.absmax", "parts of"),
    "compressed": (".weight_packed", "is no weight"),
    "int8": (".SCB", "parts of"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_parts_of_other_shapes(name: str, tmp_path: Path) -> None:
    suffix, message = DAMAGE[name]
    quantized_base(tmp_path / "base", name)
    path = tmp_path / "base" / "model.safetensors"
    tensors = load_file(path)
    save_file({k: cut(v) if k.endswith(suffix) else v for k, v in tensors.items()}, path)
    adapter(tmp_path / "a")
    given = str(tmp_path / "base")
    refused(
        lambda: export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=given),
        message,
        "fetch the base again",
    )
    assert not (tmp_path / "out").exists()
