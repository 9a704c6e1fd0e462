"""A quantized base as the model of 16-bit weights that it stands for; nothing is computed at first.

Weights keep their places in files and get the names and shapes that they have when not quantized.
Memory of a read: the packed numbers, the float32 values, and up to two bytes per entry in between
(MXFP4 needs instead what one expert takes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import MergeError
from ...files import read_json
from .. import layout
from ..base import Base
from ..tensor_ref import TensorRef
from ..tensors import DTYPES, TensorFile, TensorSpec
from . import bitsandbytes, floats, integers
from .schemes import WAY_OUT, PackedWeight, Scheme, find_scheme

_FAMILIES = (bitsandbytes, floats, integers)
"""The modules whose import registers the formats."""
SETTINGS = ("quantization_config", "compression_config")
"""The key of config.json, today's first."""
_INFERENCE = (
    *(".input_scale", ".output_scale", ".activation_scale", ".act_scale", ".input_zero_point"),
    *(".k_scale", ".v_scale", ".q_scale", ".k_proj.output_scale", ".v_proj.output_scale"),
    *(".input_global_scale", ".activation_scale_ub", ".input_scale_ub"),
)
"""Scales of inputs and of the cache, which a model of 16-bit weights does not have."""
_SIXTEEN = {"float16": "F16", "bfloat16": "BF16"}
_WHOLE_NUMBERS = ("I64", "BOOL")
"""Types of positions and masks, which are no weights."""


class DequantizedFile:
    """A file of quantized weights, as a file of the weights that they stand for.

    Attributes:
        path: The file.
        specs: Type and shape of every tensor.
    """

    def __init__(self, stored: TensorFile, packed: Mapping[str, PackedWeight], scheme: Scheme):
        self.path = stored.path
        self.specs: dict[str, TensorSpec] = dict(stored.specs)
        self._stored, self._packed, self._scheme = stored, packed, scheme

    def read(self, name: str) -> Tensor:
        """Read a tensor in float32 (float64 stays).

        Raises:
            MergeError: a part is missing or damaged, or the file changed meanwhile.
        """
        if name not in self._packed:
            return self._stored.read(name)
        with self._packed[name].computing():
            values = self._scheme.values(self._packed[name])
        if tuple(values.shape) != self.specs[name].shape:
            raise self._packed[name].refuse(
                f"{name} stands for {list(values.shape)}, its parts say "
                f"{list(self.specs[name].shape)}"
            )
        return values

    def read_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows of a tensor, likewise; of a quantized one, all rows are computed."""
        return self.read(name)[begin:end]

    def stored_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Read rows in the type that values are computed in."""
        return self.read_rows(name, begin, end)

    def close(self) -> None:
        """Release the file."""
        self._stored.close()


@dataclass(frozen=True)
class Dequantized:
    """A quantized base.

    Attributes:
        base: The model that it stands for.
        label: What the format is called.
        weights: Canonical names of the weights that were quantized.
        parts: The names of the tensors that they take the place of, by file.
    """

    base: Base
    label: str
    weights: frozenset[str]
    parts: Mapping[Path, frozenset[str]]


def dequantized(base: Base, settings: Mapping[str, Any] | None = None) -> Dequantized | None:
    """Return what a quantized base stands for; None where it is not quantized.

    Args:
        base: A base with its files.
        settings: Its config.json, which is read where not given.

    Raises:
        MergeError: a format that is not read, or parts that are missing.
    """
    path = base.folder / "config.json"
    settings = read_json(path) if settings is None else settings
    quantization = find_settings(settings)
    if not quantization:
        return None
    scheme = find_scheme(quantization, str(path))
    stored = {ref.name: ref for ref in base.tensors.values()}
    packed = dict(_packed_weights(stored, scheme, quantization))
    dtype = sixteen_bit(settings)
    weights = _files(base, packed, scheme, dtype)
    consumed = {ref for weight in packed.values() for ref in weight.parts.values()}
    consumed |= {ref for name, ref in stored.items() if name.endswith(_INFERENCE)}
    kept = {n: ref for n, ref in base.tensors.items() if ref not in consumed}
    _check_rest(kept, quantization)
    dense = {layout.canonical(name): ref for name, ref in weights.items()}
    parts: dict[Path, set[str]] = defaultdict(set)
    for ref in consumed:
        parts[ref.file.path].add(ref.name)
    return Dequantized(
        base.with_tensors({**kept, **dense}),
        scheme.label,
        frozenset(dense),
        {path: frozenset(names) for path, names in parts.items()},
    )


def find_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the quantization, which may be those of the language model alone."""
    for part in (settings, *(v for v in settings.values() if isinstance(v, dict))):
        for key in SETTINGS:
            if isinstance(part.get(key), dict) and part[key]:
                return dict(part[key])
    return {}


def sixteen_bit(settings: Mapping[str, Any]) -> str:
    """Return the type that dequantized weights are written in: the model's own, or bfloat16."""
    for part in (settings, *(v for v in settings.values() if isinstance(v, dict))):
        name = str(part.get("dtype") or part.get("torch_dtype")).removeprefix("torch.")
        if name in _SIXTEEN:
            return _SIXTEEN[name]
    return "BF16"


def _packed_weights(
    stored: Mapping[str, TensorRef], scheme: Scheme, settings: Mapping[str, Any]
) -> Iterator[tuple[str, PackedWeight]]:
    """Yield the quantized weights by the names of what they stand for."""
    groups: dict[str, dict[str, TensorRef]] = defaultdict(dict)
    for name, ref in stored.items():
        if not name.endswith(_INFERENCE):
            suffix = next((s for s in scheme.suffixes if name.endswith(s)), None)
            if suffix is not None:
                groups[name[: len(name) - len(suffix)]][suffix] = ref
    for stem, parts in groups.items():
        if scheme.packed in parts and any(mark in parts for mark in scheme.marks):
            yield stem + scheme.weight, PackedWeight(stem + scheme.weight, parts, settings)


def _files(
    base: Base, packed: Mapping[str, PackedWeight], scheme: Scheme, dtype: str
) -> dict[str, TensorRef]:
    """Return a reference to every weight, in the file that has its packed numbers."""
    files: dict[Path, DequantizedFile] = {}
    weights = {}
    for name, weight in packed.items():
        home = weight.part(scheme.packed).file
        file = files.setdefault(home.path, DequantizedFile(home, packed, scheme))
        with weight.computing():
            file.specs[name] = TensorSpec(dtype, scheme.shape(weight))
        weights[name] = TensorRef(file, name, file.specs[name])
    return weights


def _check_rest(kept: Mapping[str, TensorRef], settings: Mapping[str, Any]) -> None:
    """Check that no packed tensor is left.

    Raises:
        MergeError: one is.
    """
    for ref in kept.values():
        if ref.spec.dtype not in (*DTYPES, *_WHOLE_NUMBERS):
            raise MergeError(
                f"{ref.name} is {ref.spec.dtype}, which is no part of a weight as "
                f"{settings.get('quant_method')} stores it",
                where=str(ref),
                hint=WAY_OUT,
            )
