"""The grammar of tensor names in an adapter file.

    base_model.model.  model.language_model.layers.0.mlp.up_proj  .lora_A  .default  .weight
    prefix             module                                      part     adapter   leaf

The prefix and the adapter's name are optional, and known wrappers are left out (`wrappers`).
Everything else is a full tensor: a fully trained parameter, such as one of a projector or of a
module of `modules_to_save`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from .wrappers import PREFIX, unknown_wrapper, unwrap


class Part(Enum):
    """The role of a tensor in its module."""

    A = "lora_A"
    B = "lora_B"
    EMBEDDING_A = "lora_embedding_A"
    EMBEDDING_B = "lora_embedding_B"
    MAGNITUDE = "lora_magnitude_vector"
    LORA_BIAS = "lora_B bias"
    BASE = "base_layer"
    ORIGINAL = "original_module"
    TOKENS = "token adapter"
    FULL = "full tensor"


FACTORS = {Part.A: Part.B, Part.EMBEDDING_A: Part.EMBEDDING_B}
"""The first factor of an update, and the second that belongs to it."""


@dataclass(frozen=True)
class Key:
    """One tensor name, taken apart.

    Attributes:
        module: Dotted name of the module it belongs to, without the prefix, in the file's layout.
        part: Its role.
        leaf: For tensors that are not LoRA factors: the parameter's name in its module.
    """

    module: str
    part: Part
    leaf: str = ""


_LORA = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.(?P<adapter>[^.]+?))??(?:\.(?P<leaf>weight|bias))?"
)
_TOKENS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.[^.]+)?")
_BASE = re.compile(r"(?P<module>.+)\.base_layer\.(?P<leaf>\w+)")
_ORIGINAL = re.compile(r"(?P<module>.+)\.original_module\.(?P<leaf>.+)")
_SAVED = re.compile(
    r"(?P<head>.+)\.modules_to_save(?:\.[^.]+)?(?P<tail>(?:\.[^.]+)*?)\.(?P<leaf>\w+)"
)


@lru_cache(1 << 16)  # all adapters of one model have the same names
def parse(name: str) -> Key | None:
    """Take a tensor name apart; return None for a name that no adapter has."""
    name, _ = unwrap(name)
    if unknown_wrapper(name.partition(".lora_")[0]):
        return None
    if match := _LORA.fullmatch(name):
        part, leaf = match["part"], match["leaf"]
        if leaf == "bias":
            return Key(match["module"], Part.LORA_BIAS) if part == "B" else None
        kind = Part(f"lora_{part}")
        return Key(match["module"], kind, kind.value if kind is Part.MAGNITUDE else "")
    if ".lora_" in name:
        return None
    if match := _TOKENS.fullmatch(name):
        return Key(match["module"], Part.TOKENS, "token_adapter.trainable_tokens_delta")
    if match := _BASE.fullmatch(name):
        return Key(match["module"], Part.BASE, f"base_layer.{match['leaf']}")
    if match := _ORIGINAL.fullmatch(name):
        return Key(match["module"], Part.ORIGINAL, f"original_module.{match['leaf']}")
    if match := _SAVED.fullmatch(name):
        return Key(match["head"] + match["tail"], Part.FULL, match["leaf"])
    module, _, leaf = name.rpartition(".")
    return Key(module, Part.FULL, leaf) if leaf else None


def lora_name(module: str, part: Part) -> str:
    """Return the tensor name that PEFT writes for a factor of a module."""
    leaf = "" if part in (Part.EMBEDDING_A, Part.EMBEDDING_B) else ".weight"
    return f"{PREFIX}{module}.{part.value}{leaf}"


def full_name(parameter: str) -> str:
    """Return the tensor name that PEFT writes for a fully trained parameter."""
    return PREFIX + parameter
