r"""bitsandbytes' checkpoints: NF4 and FP4 in blocks, and INT8 by rows.

    NF4, FP4   W = code[q] · absmax[block], two to a byte, the high half first, row by row
               absmax = code'[q'] · absmax'[block'] + offset   where it is quantized once more
    INT8       W[o, :] = q[o, :] · SCB[o] / 127

Sources: bitsandbytes 0.50, `QuantState` and `dequantize_4bit`; arXiv 2305.14314 (QLoRA), 2208.07339
(LLM.int8).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .schemes import PackedWeight, Scheme, scheme

_STATES = (".weight.quant_state.bitsandbytes__nf4", ".weight.quant_state.bitsandbytes__fp4")
_ABSMAX, _CODE = ".weight.absmax", ".weight.quant_map"
_NESTED_ABSMAX, _NESTED_CODE = ".weight.nested_absmax", ".weight.nested_quant_map"
_ROWS = ".SCB"
_LARGEST = 127.0
_BAND = 1 << 20
"""Bytes that are looked up at once."""


def _state(packed: PackedWeight) -> dict[str, Any]:
    """Return block sizes and shape, which are stored as the bytes of a JSON text."""
    suffix = next(s for s in _STATES if s in packed.parts)
    try:
        state = json.loads(bytes(packed.read(suffix).tolist()))
        sizes = [int(n) for n in (*state["shape"], state["blocksize"])]
    except (ValueError, TypeError, KeyError):
        raise packed.refuse("the quantization state is no JSON with shape and blocksize") from None
    if math.prod(sizes[:-1]) != 2 * packed.read(".weight").view(torch.uint8).numel():
        raise packed.refuse(f"the packed weight does not have the entries of {sizes[:-1]}")
    return dict(state)


def four_bit_values(packed: PackedWeight, state: Mapping[str, Any]) -> Tensor:
    """Look every half byte up, and scale each block."""
    code = packed.read(_CODE).float()  # [16]
    # Both halves at once: [256, 2], by the byte.
    table = torch.stack([code.repeat_interleave(16), code.repeat(16)], 1)
    stored = packed.read(".weight").view(torch.uint8).flatten()
    pairs = torch.empty(len(stored), 2)
    for start in range(0, len(stored), _BAND):
        torch.index_select(
            table, 0, stored[start : start + _BAND].int(), out=pairs[start : start + _BAND]
        )
    values = pairs.flatten()
    scales = _absmax(packed, state)
    size = int(state["blocksize"])
    whole = values.numel() // size * size
    values[:whole].view(-1, size).mul_(scales[: whole // size, None])
    if whole < values.numel():
        values[whole:].mul_(scales[-1])
    return values.view(*state["shape"])


def _absmax(packed: PackedWeight, state: Mapping[str, Any]) -> Tensor:
    stored = packed.read(_ABSMAX)
    if _NESTED_ABSMAX not in packed.parts:
        return stored.float()
    code, scales = packed.read(_NESTED_CODE).float(), packed.read(_NESTED_ABSMAX).float()
    spread = scales.repeat_interleave(int(state["nested_blocksize"]))[: stored.numel()]
    return code[stored.int()] * spread + float(state["nested_offset"])


def _values(packed: PackedWeight) -> Tensor:
    if _ROWS in packed.parts:
        scales = packed.read(_ROWS).float() / _LARGEST
        return packed.read(".weight").float().mul_(scales[:, None])
    return four_bit_values(packed, _state(packed))


def _shape(packed: PackedWeight) -> tuple[int, ...]:
    if _ROWS in packed.parts:
        return packed.shape(".weight")
    return tuple(int(n) for n in _state(packed)["shape"])


@scheme("bitsandbytes")
def choose_bitsandbytes(settings: Mapping[str, Any]) -> Scheme:
    """Return the scheme; every weight says by its parts which of the types it has."""
    eight = settings.get("load_in_8bit") or settings.get("_load_in_8bit")
    kind = str(settings.get("bnb_4bit_quant_type") or "4 bit").upper()
    return Scheme(
        f"bitsandbytes {'INT8' if eight else kind}",
        packed=".weight",
        marks=(_ROWS, *_STATES),
        others=(_ABSMAX, _CODE, _NESTED_ABSMAX, _NESTED_CODE, ".weight_format"),
        weight=".weight",
        shape=_shape,
        values=_values,
    )
