r"""Integers packed into words of 32 bit: GPTQ, AWQ, compressed-tensors.

    GPTQ   W[o, i] = s[g(i), o] · (q[i, o] - z[g(i), o])      packed along i; zero points along o
    AWQ    the same with g(i) = ⌊i / group⌋, four bits, packed along o in the order 0 2 4 6 1 3 5 7
    compressed-tensors   W[o, i] = s[o, g(i)] · (q[o, i] - z[o, g(i)]), packed along i; with q of
           eight bit, integers or floats, not packed at all

GPTQ's first format stores z - 1, of which the sum with 1 is taken modulo 2^bits; gptq_v2 stores z.
Words are read as one stream of bits from the low end, which also covers three bits.

Sources: arXiv 2210.17323 and AutoGPTQ's QuantLinear; arXiv 2306.00978 and AutoAWQ 0.2.9,
`packing_utils`; compressed-tensors 0.20, `pack_quantized`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import MergeError
from .floats import scaled
from .schemes import WAY_OUT, PackedWeight, Scheme, scheme, unread

_AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Which half byte of a word, from the low end, holds each of its eight columns."""
_WORD = 32
_BAND = 1 << 20
"""Numbers that are unpacked at once."""


def unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """Return unsigned numbers [rows count] of words [rows n], int32, from the low end."""
    first = torch.arange(count) * bits
    index, shift = first // _WORD, first % _WORD
    result = torch.empty(len(words), count, dtype=torch.int16)
    step = max(1, _BAND // max(count, 1))
    for start in range(0, len(words), step):
        low = words[start : start + step].long() & 0xFFFFFFFF
        if _WORD % bits:  # a number may begin in one word and end in the next
            following = torch.cat([low[:, 1:], low.new_zeros(len(low), 1)], 1)
            low = low | (following << _WORD)
        result[start : start + step] = (low[:, index] >> shift) & (2**bits - 1)
    return result


def _by_groups(numbers: Tensor, zeros: Tensor, scales: Tensor, group: Tensor) -> Tensor:
    """Return s (q - z) in float32, with one s and z for each row and group of columns.

    Args:
        numbers: q [d_out d_in], int16.
        zeros: z [d_out groups], float32.
        scales: s, likewise.
        group: The group of every column [d_in].
    """
    result = torch.empty(numbers.shape)
    step = max(1, _BAND // max(numbers.shape[1], 1))
    for start in range(0, len(numbers), step):
        rows = slice(start, start + step)
        torch.sub(numbers[rows], zeros[rows][:, group], out=result[rows])
        result[rows].mul_(scales[rows][:, group])
    return result


def _bits(packed: PackedWeight, d_in: int) -> int:
    return packed.shape(".qweight")[0] * _WORD // max(d_in, 1)


def gptq_values(packed: PackedWeight) -> Tensor:
    """Unpack numbers along the inputs and zero points along the outputs."""
    d_out, d_in = gptq_shape(packed)
    bits, scales = _bits(packed, d_in), packed.read(".scales").float()  # [groups, d_out]
    zeros = unpack(packed.read(".qzeros"), bits, d_out).float()  # [groups, d_out]
    if packed.settings.get("checkpoint_format", "gptq") == "gptq":
        zeros = (zeros + 1) % 2**bits
    if ".g_idx" in packed.parts:
        group = packed.read(".g_idx").long()  # [d_in]
    else:
        group = torch.arange(d_in) // -(-d_in // len(scales))
    numbers = unpack(packed.read(".qweight").mT, bits, d_in)  # [d_out, d_in]
    return _by_groups(numbers, zeros.mT, scales.mT, group)


def gptq_shape(packed: PackedWeight) -> tuple[int, ...]:
    """Return the shape, of which the inputs are counted by their groups."""
    d_out = packed.shape(".qweight")[1]
    if ".g_idx" in packed.parts:
        return d_out, packed.shape(".g_idx")[0]
    return d_out, packed.shape(".qweight")[0] * _WORD // int(packed.settings.get("bits", 4))


@scheme("gptq")
def choose_gptq(settings: Mapping[str, Any]) -> Scheme:
    """Return GPTQ in either of its two open formats."""
    if settings.get("checkpoint_format", "gptq") not in ("gptq", "gptq_v2"):
        raise unread(settings, "checkpoint_format")
    return Scheme(
        f"GPTQ, {settings.get('bits', 4)} bit",
        packed=".qweight",
        marks=(".scales",),
        others=(".qzeros", ".g_idx"),
        weight=".weight",
        shape=gptq_shape,
        values=gptq_values,
    )


def awq_values(packed: PackedWeight) -> Tensor:
    """Unpack both along the outputs, and bring the columns of every word into order."""
    d_out, d_in = awq_shape(packed)
    order = torch.arange(d_out).view(-1, len(_AWQ_ORDER))[:, list(_AWQ_ORDER)].flatten()
    scales = packed.read(".scales").float()  # [groups, d_out]
    zeros = unpack(packed.read(".qzeros"), 4, d_out)[:, order].float()  # [groups, d_out]
    numbers = unpack(packed.read(".qweight"), 4, d_out)[:, order]  # [d_in, d_out]
    return _by_groups(numbers.mT, zeros.mT, scales.mT, torch.arange(d_in) // (d_in // len(scales)))


def awq_shape(packed: PackedWeight) -> tuple[int, ...]:
    """Return the shape: eight outputs to a word."""
    d_in, words = packed.shape(".qweight")
    return words * len(_AWQ_ORDER), d_in


@scheme("awq")
def choose_awq(settings: Mapping[str, Any]) -> Scheme:
    """Return AWQ as its gemm version packs it."""
    for key, known in (("version", "gemm"), ("bits", 4)):
        if str(settings.get(key) or known).lower() != str(known):
            raise unread(settings, key)
    return Scheme(
        "AWQ, 4 bit",
        packed=".qweight",
        marks=(".scales",),
        others=(".qzeros",),
        weight=".weight",
        shape=awq_shape,
        values=awq_values,
    )


def packed_values(packed: PackedWeight) -> Tensor:
    """Unpack signed numbers, which are stored with half their range added."""
    bits, (d_out, d_in) = _weights_bits(packed), packed_shape(packed)
    scales = packed.read(".weight_scale").float()
    scales = scales.reshape(-1, scales.shape[-1] if scales.ndim == 2 else 1).expand(d_out, -1)
    zeros = torch.full_like(scales, 2 ** (bits - 1))
    if ".weight_zero_point" in packed.parts:
        # Packed along the outputs; the half in it and in the numbers cancel.
        zeros = unpack(packed.read(".weight_zero_point").mT, bits, d_out).mT.float()
    if ".weight_g_idx" in packed.parts:
        group = packed.read(".weight_g_idx").long()
    else:
        group = torch.arange(d_in) // -(-d_in // scales.shape[1])
    return _by_groups(unpack(packed.read(".weight_packed"), bits, d_in), zeros, scales, group)


def packed_shape(packed: PackedWeight) -> tuple[int, ...]:
    """Return the shape, which is stored, since the last word of a row may be filled up."""
    d_out, d_in = (int(n) for n in packed.read(".weight_shape"))
    if packed.shape(".weight_packed") != (d_out, -(-d_in * _weights_bits(packed) // _WORD)):
        raise packed.refuse(
            f"packed {list(packed.shape('.weight_packed'))} is no weight {[d_out, d_in]}"
        )
    return d_out, d_in


def plain_values(packed: PackedWeight) -> Tensor:
    """Scale numbers of eight bit, less their zero points."""
    numbers, scale = packed.read(".weight").float(), packed.read(".weight_scale")
    if ".weight_zero_point" in packed.parts:
        zeros = packed.read(".weight_zero_point").float()
        if bool(zeros.any()):
            d_in = numbers.shape[1]
            per = -(-d_in // zeros.shape[-1]) if zeros.ndim == 2 else d_in
            numbers.sub_(zeros.reshape(len(zeros), -1).repeat_interleave(per, 1)[:, :d_in])
    block = _weights(packed.settings).get("block_structure")
    sizes = (int(block[0]), int(block[1])) if block and scale.ndim == 2 else None
    return scaled(numbers, scale, sizes, packed)


def _weights(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one description of weights among the groups of modules.

    Raises:
        MergeError: groups differ, or nothing is said.
    """
    groups = settings.get("config_groups")
    kinds = [
        group["weights"]
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict) and isinstance(group.get("weights"), dict)
    ]
    if not kinds or any(weights != kinds[0] for weights in kinds):
        raise unread(settings, "config_groups")
    return dict(kinds[0])


def _weights_bits(packed: PackedWeight) -> int:
    return int(_weights(packed.settings)["num_bits"])


@scheme("compressed-tensors")
def choose_compressed(settings: Mapping[str, Any]) -> Scheme:
    """Return packed integers, or numbers of eight bit."""
    weights, form = _weights(settings), settings.get("format")
    if form not in ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized"):
        raise unread(settings, "format")
    if (settings.get("sparsity_config") or {}).get("format", "dense") != "dense":
        raise unread(settings, "sparsity_config")
    bits = weights.get("num_bits")
    if not isinstance(bits, int) or not 1 <= bits <= 8:
        raise MergeError(
            f"the base is quantized by compressed-tensors to {bits!r} bits", hint=WAY_OUT
        )
    words = form == "pack-quantized"
    return Scheme(
        f"compressed-tensors {form}, {bits} bit",
        packed=".weight_packed" if words else ".weight",
        marks=(".weight_scale",),
        others=(".weight_zero_point", ".weight_shape", ".weight_g_idx"),
        weight=".weight",
        shape=packed_shape if words else lambda packed: packed.shape(".weight"),
        values=packed_values if words else plain_values,
    )
