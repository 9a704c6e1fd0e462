"""PEFT's own rules for names: which modules settings select, and which tensors it then finds.

They are those of PEFT 0.21. All names here are a live model's, without PEFT's prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MergeError
from ..families import FAMILIES
from .contents import LORA, Contents, NamedTensor

ALL_LINEAR = "all-linear"

_RENAMED = frozenset(old for family in FAMILIES for old in family.anatomy.peft_renames)
_UNWRAPPED = frozenset(old for family in FAMILIES for old in family.anatomy.peft_unwraps)


def selects(raw: Mapping[str, Any], name: str) -> bool | None:
    """Whether the settings put LoRA on a module; None where they leave it to PEFT's defaults.

    Raises:
        MergeError: A pattern in the settings is no regular expression.
    """
    targets = raw.get("target_modules")
    if _named(raw.get("exclude_modules"), name) or _is_saved(raw, name):
        return False
    if not targets or not isinstance(targets, (str, list)):
        return None
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return name != "lm_head" and "embed" not in name.rpartition(".")[2]
    if isinstance(targets, str) or name in targets:
        return _named(targets, name)
    return _named(targets, name) and _layer_is_asked(raw, name)


def saves(raw: Mapping[str, Any], module: str) -> bool:
    """Whether `modules_to_save` wraps a module: its name ends with an entry, dots or not."""
    return any(module.endswith(entry) for entry in entries(raw, "modules_to_save"))


def lands(contents: Contents, item: NamedTensor) -> bool:
    """Whether PEFT finds the place of a tensor in a model that transformers builds now.

    What it does not find it leaves out with a warning; where a parameter of `modules_to_save` is
    not found, loading ends in a KeyError.
    """
    if item.written == contents.live(item.written):
        return True
    if contents.text_only:
        return False
    if any(under(item.written, old) for old in _UNWRAPPED):
        return True
    return item.key.part in LORA and any(under(item.written, old) for old in _RENAMED)


def entries(raw: Mapping[str, Any], field: str) -> Sequence[str]:
    """A setting that is a list of names, empty where it is anything else."""
    value = raw.get(field)
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def under(name: str, parent: str) -> bool:
    """Whether a dotted name is a module or lies in it."""
    return name == parent or name.startswith(parent + ".")


def _named(wanted: object, name: str) -> bool:
    """A string is a pattern for the whole name; a list has names, or dotted ends of names."""
    if isinstance(wanted, str):
        return _matches(wanted, name)
    if not isinstance(wanted, list):
        return False
    return any(name == e or name.endswith(f".{e}") for e in wanted if isinstance(e, str))


def _is_saved(raw: Mapping[str, Any], name: str) -> bool:
    """Modules saved whole get no LoRA, nor does anything in them; here an entry is a pattern."""
    return any(_matches(rf"(.*\.)?{e}(\..*)?", name) for e in entries(raw, "modules_to_save"))


def _layer_is_asked(raw: Mapping[str, Any], name: str) -> bool:
    asked = raw.get("layers_to_transform")
    if asked is None or asked == []:
        return True
    given = raw.get("layers_pattern")
    patterns = [given] if given and isinstance(given, str) else entries(raw, "layers_pattern")
    # Any numbered list of layers counts where none is named, and the first number in the name.
    starts = [rf"(?:.*?\.)?{p}" for p in patterns] or [r".*?\.[^.]*"]
    for start in starts:
        if match := re.match(rf"{start}\.(\d+)\.", name):
            return int(match[1]) in (asked if isinstance(asked, list) else [asked])
    return False


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise MergeError(
            f"{pattern!r} is no regular expression: {error}", hint="mend the settings"
        ) from None
