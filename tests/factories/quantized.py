"""Quantized weights as their libraries store them, with the values that they stand for.

Numbers are drawn and packed by the definition of each format, one entry at a time; nothing here is
taken from the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Parts = dict[str, Tensor]
AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)
"""AutoAWQ: the column that each half byte of a word holds, from the low end."""
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def pack(numbers: Tensor, bits: int) -> Tensor:
    """Pack rows of unsigned numbers into words of 32 bit, as one long integer for each row."""
    rows = []
    for row in numbers.tolist():
        whole = sum(int(value) << (bits * place) for place, value in enumerate(row))
        count = -(-len(row) * bits // 32)
        words = [(whole >> (32 * n)) & 0xFFFFFFFF for n in range(count)]
        rows.append([word - 2**32 if word >= 2**31 else word for word in words])
    return torch.tensor(rows, dtype=torch.int32)


def _drawn(shape: tuple[int, int], most: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, most, shape, generator=generator)


def _scales(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 100)
    return (0.05 + torch.rand(shape, generator=generator)).half()


def gptq(
    shape: tuple[int, int],
    seed: int,
    *,
    bits: int = 4,
    version: int = 1,
    group: int = 8,
    ordered: bool = True,
) -> tuple[Parts, Tensor]:
    """Make GPTQ's tensors of a weight [d_out d_in]."""
    d_out, d_in = shape
    groups = -(-d_in // group)
    q, scales = _drawn(shape, 2**bits, seed), _scales((groups, d_out), seed)
    zeros = _drawn((groups, d_out), 2**bits, seed + 1)
    index = torch.arange(d_in) // group
    if not ordered:
        index = index[torch.randperm(d_in, generator=torch.Generator().manual_seed(seed))]
    stored = (zeros - 1) % 2**bits if version == 1 else zeros
    dense = torch.empty(shape, dtype=torch.float64)
    for i in range(d_in):
        g = int(index[i])
        dense[:, i] = scales[g].double() * (q[:, i] - zeros[g])
    parts = {
        ".qweight": pack(q, bits).T.contiguous(),
        ".qzeros": pack(stored, bits),
        ".scales": scales,
        ".g_idx": index.int(),
    }
    return parts, dense


def awq(shape: tuple[int, int], seed: int, *, group: int = 8) -> tuple[Parts, Tensor]:
    """Make AWQ's tensors of a weight [d_out d_in], as its gemm version packs them."""
    d_out, d_in = shape
    q, scales = _drawn((d_in, d_out), 16, seed), _scales((d_in // group, d_out), seed)
    zeros = _drawn((d_in // group, d_out), 16, seed + 1)
    dense = torch.empty(shape, dtype=torch.float64)
    for i in range(d_in):
        dense[:, i] = scales[i // group].double() * (q[i] - zeros[i // group])

    def mixed(numbers: Tensor) -> Tensor:
        return pack(numbers.view(len(numbers), -1, 8)[:, :, list(AWQ_COLUMNS)].flatten(1), 4)

    return {".qweight": mixed(q), ".qzeros": mixed(zeros), ".scales": scales}, dense


def fp8(
    shape: tuple[int, int], seed: int, *, kind: str = "block", block: int = 8
) -> tuple[Parts, Tensor]:
    """Make a weight of 8-bit floats with scales of blocks, rows, or the whole."""
    generator = torch.Generator().manual_seed(seed)
    stored = (3 * torch.randn(*shape, generator=generator)).to(torch.float8_e4m3fn)
    rows, columns = shape
    blocks = (-(-rows // block), -(-columns // block))
    sizes: Mapping[str, tuple[int, ...]] = {"block": blocks, "row": (rows, 1), "tensor": ()}
    scales = _scales(sizes[kind], seed).float()
    dense = stored.double()
    for o in range(rows):
        for i in range(columns):
            at = {"block": (o // block, i // block), "row": (o, 0), "tensor": ()}[kind]
            dense[o, i] *= float(scales[at])
    name = ".weight_scale_inv" if kind == "block" else ".weight_scale"
    return {".weight": stored, name: scales}, dense


def bnb4(
    shape: tuple[int, int], seed: int, *, kind: str = "nf4", nested: bool = True
) -> tuple[Parts, Tensor]:
    """Make a weight as bitsandbytes packs it in 4 bit, in blocks of 64 entries."""
    entries, size = shape[0] * shape[1], 64
    q = _drawn((1, entries), 16, seed)[0]
    code = torch.linspace(-1, 1, 16)
    count = -(-entries // size)
    state: dict[str, Any] = {"quant_type": kind, "blocksize": size, "dtype": "bfloat16"}
    state["shape"] = list(shape)
    parts = {".weight": ((q[::2] << 4) | q[1::2]).to(torch.uint8)[:, None]}
    parts[".weight.quant_map"] = code
    absmax = _scales((count,), seed).float()
    if nested:
        steps = torch.linspace(-1, 1, 256)
        stored = _drawn((1, count), 256, seed + 1)[0].to(torch.uint8)
        width = _scales((-(-count // 4),), seed + 2).float()
        state |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 1.5}
        absmax = torch.tensor(
            [float(steps[int(b)] * width[n // 4]) + 1.5 for n, b in enumerate(stored)]
        )
        parts |= {".weight.nested_absmax": width, ".weight.nested_quant_map": steps}
        parts[".weight.absmax"] = stored
    else:
        parts[".weight.absmax"] = absmax
    dense = torch.tensor([float(code[int(n)]) * float(absmax[k // size]) for k, n in enumerate(q)])
    text = json.dumps(state).encode()
    parts[f".weight.quant_state.bitsandbytes__{kind}"] = torch.tensor(list(text), dtype=torch.uint8)
    return parts, dense.view(shape).double()


def bnb8(shape: tuple[int, int], seed: int) -> tuple[Parts, Tensor]:
    """Make a weight as bitsandbytes stores it in 8 bit."""
    q = (_drawn(shape, 255, seed) - 127).to(torch.int8)
    scales = _scales((shape[0],), seed).float()
    parts = {".weight": q, ".SCB": scales, ".weight_format": torch.tensor(0, dtype=torch.uint8)}
    return parts, q.double() * (scales.double() / 127)[:, None]


def compressed(
    shape: tuple[int, int], seed: int, *, bits: int = 4, group: int = 8, signed: bool = True
) -> tuple[Parts, Tensor]:
    """Make a weight as compressed-tensors packs it."""
    d_out, d_in = shape
    groups, half = d_in // group, 2 ** (bits - 1)
    q = _drawn(shape, 2**bits, seed) - half
    scales = _scales((d_out, groups), seed)
    zeros = torch.zeros(d_out, groups, dtype=torch.int64)
    if not signed:
        zeros = _drawn((d_out, groups), 2**bits, seed + 1) - half
    spread = torch.arange(d_in) // group
    dense = scales.double()[:, spread] * (q - zeros[:, spread])
    parts = {".weight_packed": pack(q + half, bits), ".weight_scale": scales}
    parts[".weight_shape"] = torch.tensor(shape)
    if not signed:
        parts[".weight_zero_point"] = pack((zeros + half).T, bits).T.contiguous()
    return parts, dense


def int8(shape: tuple[int, int], seed: int) -> tuple[Parts, Tensor]:
    """Make a weight of compressed-tensors' plain integers, scaled by rows."""
    q, scales = (_drawn(shape, 255, seed) - 127).to(torch.int8), _scales((shape[0], 1), seed)
    return {".weight": q, ".weight_scale": scales}, q.double() * scales.double()


def _groups(bits: int, **more: Any) -> dict[str, Any]:
    return {"group_0": {"targets": ["Linear"], "weights": {"num_bits": bits, **more}}}


FORMATS: Mapping[
    str, tuple[dict[str, Any], Callable[..., tuple[Parts, Tensor]], dict[str, Any]]
] = {
    "fp8 blocks": ({"quant_method": "fp8", "weight_block_size": [8, 8]}, fp8, {}),
    "fp8 rows": ({"quant_method": "fbgemm_fp8"}, fp8, {"kind": "row"}),
    "fp8 tensor": ({"quant_method": "modelopt", "quant_algo": "FP8"}, fp8, {"kind": "tensor"}),
    "nf4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, bnb4, {}),
    "fp4": ({"load_in_4bit": True}, bnb4, {"kind": "fp4", "nested": False}),
    "int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, bnb8, {}),
    "gptq": ({"quant_method": "gptq", "bits": 4}, gptq, {}),
    "gptq by activations": ({"quant_method": "gptq", "bits": 4}, gptq, {"ordered": False}),
    "gptq v2": (
        {"quant_method": "gptq", "bits": 8, "checkpoint_format": "gptq_v2"},
        gptq,
        {"bits": 8, "version": 2},
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, awq, {}),
    "compressed": (
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": _groups(4),
        },
        compressed,
        {},
    ),
    "compressed, with zero points": (
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": _groups(4, symmetric=False),
        },
        compressed,
        {"signed": False},
    ),
    "compressed int8": (
        {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "config_groups": _groups(8),
        },
        int8,
        {},
    ),
    "compressed fp8": (
        {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": _groups(8, type="float"),
        },
        fp8,
        {"kind": "row"},
    ),
}
"""By name: quantization_config, what makes a weight's tensors, and its settings."""
