"""Formats of quantized weights: how their tensors are named, and what they stand for.

A quantized weight is several tensors: packed numbers, scales, zero points. A scheme says by which
suffixes they belong together, and computes the weight [d_out d_in] in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from safetensors import safe_open
from torch import Tensor

from ...errors import MergeError, enough_memory, reading
from ..tensor_ref import TensorRef


@dataclass(frozen=True)
class PackedWeight:
    """One quantized weight.

    Attributes:
        name: The name of the weight that it stands for, as in the file.
        parts: Its tensors by their suffix.
        settings: The base's quantization_config.
    """

    name: str
    parts: Mapping[str, TensorRef]
    settings: Mapping[str, Any]

    def read(self, suffix: str) -> Tensor:
        """Read a part in its own type.

        Raises:
            MergeError: it is missing.
        """
        ref = self.part(suffix)
        with reading(ref.file.path), safe_open(ref.file.path, "pt") as file:
            tensor: Tensor = file.get_tensor(ref.name)
        return tensor

    def part(self, suffix: str) -> TensorRef:
        """Return a part, from the headers.

        Raises:
            MergeError: it is missing.
        """
        if suffix not in self.parts:
            raise self.refuse(f"the part {suffix!r} of a quantized weight is missing")
        return self.parts[suffix]

    def shape(self, suffix: str) -> tuple[int, ...]:
        """Return the shape of a part."""
        return self.part(suffix).spec.shape

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Turn what damaged parts do to arithmetic into an error that names the weight.

        Raises:
            MergeError: shapes or values of the parts do not go together, or memory is exhausted.
        """
        try:
            with enough_memory(self.name):
                yield
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError, ArithmeticError):
            shapes = [f"{suffix or '(weight)'} {list(self.shape(suffix))}" for suffix in self.parts]
            raise self.refuse(
                f"parts of {self.name} that do not go together: {', '.join(shapes)}"
            ) from None

    def refuse(self, problem: str, hint: str = "fetch the base again") -> MergeError:
        """Return the error about this weight."""
        return MergeError(problem, where=str(next(iter(self.parts.values()))), hint=hint)


@dataclass(frozen=True)
class Scheme:
    """One way to store weights.

    Attributes:
        label: What a user calls it.
        packed: The suffix of the numbers themselves.
        marks: Suffixes of which one has to be there, or the weight is not quantized.
        others: Further suffixes of the same weight.
        weight: The suffix of the weight that these tensors stand for.
        shape: Returns its shape.
        values: Computes it, in float32.
    """

    label: str
    packed: str
    marks: tuple[str, ...]
    others: tuple[str, ...]
    weight: str
    shape: Callable[[PackedWeight], tuple[int, ...]]
    values: Callable[[PackedWeight], Tensor]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """All suffixes, the longest first."""
        return tuple(sorted({self.packed, *self.marks, *self.others}, key=len, reverse=True))


SCHEMES: dict[str, Callable[[Mapping[str, Any]], Scheme]] = {}
"""By the name in quantization_config, what chooses the scheme that its other settings describe."""

WAY_OUT = (
    "name the model in float32, float16 or bfloat16 by --base; or let transformers load this one "
    "and `model.dequantize()` it, save that, and name its folder"
)


def scheme(name: str) -> Callable[[Callable[[Mapping[str, Any]], Scheme]], Any]:
    """Register what chooses a scheme under a name in quantization_config."""

    def register(choose: Callable[[Mapping[str, Any]], Scheme]) -> Any:
        SCHEMES[name] = choose
        return choose

    return register


def find_scheme(settings: Mapping[str, Any], where: str) -> Scheme:
    """Return the scheme that a base's quantization_config describes.

    Raises:
        MergeError: a format that is not read, by its name.
    """
    name = str(settings.get("quant_method") or _named_by_flags(settings))
    if name not in SCHEMES:
        raise MergeError(
            f"the base is quantized by {name or 'a method that its settings do not name'}, which "
            "is not read",
            where=where,
            hint=f"{WAY_OUT}; known: {', '.join(sorted(SCHEMES))}",
        )
    try:
        return SCHEMES[name](settings)
    except MergeError as error:
        raise MergeError(error.problem, where=where, hint=WAY_OUT) from None


def unread(settings: Mapping[str, Any], key: str) -> MergeError:
    """Return the error about a variant of a format that is not read."""
    method = settings.get("quant_method")
    return MergeError(
        f"the base is quantized by {method} with {key} = {settings.get(key)!r:.80}", hint=WAY_OUT
    )


def _named_by_flags(settings: Mapping[str, Any]) -> str:
    """Return the method of settings from before quant_method."""
    flags = settings.get("load_in_4bit") or settings.get("load_in_8bit")
    return "bitsandbytes" if flags else ""
