r"""Eight and four bit floats with scales: FP8 by block, row or tensor, MXFP8, MXFP4.

    FP8     W[o, i] = q[o, i] · s[⌊o / b⌋, ⌊i / b'⌋]     `weight_scale_inv`, blocks of 128 x 128
            W = q · s                                    `weight_scale`, of a row or the whole
    MXFP8   the same with blocks of 1 x 32, and s = 2^(e - 127) in one byte
    MXFP4   the same with q from a table of 16 values, two to a byte, the low half first

The name weight_scale_inv is DeepSeek's: in spite of it the weight is multiplied. Checkpoints of
gpt-oss store experts as MXFP4 [experts, d_out, blocks, 16], and the model has them transposed.

Sources: transformers 5.24, `Fp8Dequantize` and `convert_moe_packed_tensors`; arXiv 2412.19437
(DeepSeek-V3); OCP Microscaling Formats 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .schemes import PackedWeight, Scheme, scheme, unread

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The values of a 4-bit float without its sign, which is the high bit."""
_BYTE_BIAS = 127
_FLOATS = ("F8_E4M3", "F8_E5M2")


def scaled(
    weight: Tensor, scale: Tensor, block: tuple[int, int] | None, packed: PackedWeight
) -> Tensor:
    """Multiply a weight by scales of blocks, rows or the whole, in place.

    Args:
        weight: [… d_out d_in], float32.
        scale: One number, or as many axes with one entry per block; [d_out] for rows.
        block: Rows and columns of a block, None where the shapes say it.
        packed: What errors name.

    Raises:
        MergeError: the scales do not go with the weight.
    """
    scale = _as_float(scale)
    if scale.numel() == 1:
        return weight.mul_(scale.reshape(()))
    if scale.ndim == 1 and scale.shape[0] == weight.shape[-2]:
        scale = scale[:, None]
    rows, columns = weight.shape[-2:]
    if block is None and all(s in (1, w) for s, w in zip(scale.shape, weight.shape, strict=True)):
        return weight.mul_(scale)
    height, width = block or (rows // scale.shape[-2], columns // scale.shape[-1])
    blocks = (-(-rows // max(height, 1)), -(-columns // max(width, 1)))
    if scale.ndim != weight.ndim or tuple(scale.shape[-2:]) != blocks:
        raise packed.refuse(
            f"scales {list(scale.shape)} do not go with a weight {list(weight.shape)} in blocks of "
            f"{height} x {width}"
        )
    for matrix, scales in zip(
        weight.view(-1, rows, columns), scale.reshape(-1, *blocks), strict=True
    ):
        for band, line in zip(matrix.split(height), scales, strict=True):
            band.mul_(line.repeat_interleave(width)[:columns])  # [height, d_in]
    return weight


def _as_float(scale: Tensor) -> Tensor:
    """Return scales in float32; a byte is the exponent of 2."""
    if scale.dtype == torch.uint8:
        return (scale.float() - _BYTE_BIAS).exp2()
    return scale.float()


def fp8_values(packed: PackedWeight) -> Tensor:
    """Multiply by the scales."""
    if packed.part("").spec.dtype not in _FLOATS:
        raise packed.refuse(
            f"a weight of type {packed.part('').spec.dtype} in a base of 8-bit floats",
            "name the model in float32, float16 or bfloat16 by --base",
        )
    mark = next(mark for mark in ("_scale_inv", "_scale") if mark in packed.parts)
    block = packed.settings.get("weight_block_size")
    sizes = (int(block[0]), int(block[1])) if block and mark == "_scale_inv" else None
    return scaled(packed.read("").float(), packed.read(mark), sizes, packed)


FP8 = Scheme(
    "FP8",
    packed="",
    marks=("_scale_inv", "_scale"),
    others=(),
    weight="",
    shape=lambda packed: packed.shape(""),
    values=fp8_values,
)


@scheme("fp8")
@scheme("mxfp8")
@scheme("fbgemm_fp8")
def choose_fp8(settings: Mapping[str, Any]) -> Scheme:
    """Return FP8, of which blocks and scales say the rest."""
    return FP8


@scheme("modelopt")
def choose_modelopt(settings: Mapping[str, Any]) -> Scheme:
    """Return FP8, the one of ModelOpt's formats that is read."""
    if not str(settings.get("quant_algo")).startswith("FP8"):
        raise unread(settings, "quant_algo")
    return FP8


def mxfp4_values(packed: PackedWeight) -> Tensor:
    """Look the halves of every byte up and scale each block; the model's axes are the reverse.

    Memory beyond the result: that of one expert, 16 bytes per entry.
    """
    shape, positive = _mxfp4_shape(packed), torch.tensor(_E2M1)
    table = torch.cat([positive, -positive])
    stored = packed.read("_blocks").flatten(0, -4)  # [experts, d_out, blocks, 16]
    scales = _as_float(packed.read("_scales")).view(stored.shape[:-1])  # [experts, d_out, blocks]
    result = torch.empty(len(stored), *shape[-2:])  # [experts, d_in, d_out]
    for matrix, blocks, scale in zip(result, stored, scales, strict=True):
        pairs = torch.stack([blocks & 15, blocks >> 4], -1)  # [d_out, blocks, 16, 2]
        values = table[pairs.int()].flatten(-2)  # [d_out, blocks, 32]
        matrix.copy_(values.mul_(scale[..., None]).flatten(-2).T)
    return result.view(shape)


def _mxfp4_shape(packed: PackedWeight) -> tuple[int, ...]:
    *experts, d_out, blocks, size = packed.shape("_blocks")
    return (*experts, blocks * size * 2, d_out)


@scheme("mxfp4")
def choose_mxfp4(settings: Mapping[str, Any]) -> Scheme:
    """Return gpt-oss's way to store experts."""
    return Scheme(
        "MXFP4",
        packed="_blocks",
        marks=("_scales",),
        others=(),
        weight="",
        shape=_mxfp4_shape,
        values=mxfp4_values,
    )
