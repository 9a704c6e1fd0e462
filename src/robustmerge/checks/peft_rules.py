"""PEFT's own rules for names: which modules settings select, and which tensors it then finds.

They are those of PEFT 0.21. All names here are a live model's, without PEFT's prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..adapter.patterns import match_ends, matches_whole
from ..errors import MergeError
from ..families import ANATOMIES, RENAMED_BY_PEFT
from .contents import LORA, Contents, NamedTensor
from .family import candidates

ALL_LINEAR = "all-linear"

_EXPERT = re.compile(r"(?P<owner>.+)\.\d+\.(?P<parameter>\w+)")
_UNWRAPPED = frozenset(old for anatomy in ANATOMIES for old in anatomy.peft_unwraps)


def selects(raw: Mapping[str, Any], name: str) -> bool | None:
    """Decide whether the settings put LoRA on a module; None: PEFT's defaults decide.

    Raises:
        MergeError: a pattern in the settings is no regular expression.
    """
    if _is_parameter(raw, name):
        return True
    targets = raw.get("target_modules")
    if _named(raw.get("exclude_modules"), name) or _is_saved(raw, name):
        return False
    if not targets or not isinstance(targets, (str, list)):
        return None
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return name != "lm_head" and "embed" not in name.rpartition(".")[2]
    if isinstance(targets, str) or name in targets:
        return _named(targets, name)
    return _named(targets, name) and _layer_is_selected(raw, name)


def saves(raw: Mapping[str, Any], module: str) -> bool:
    """Decide whether `modules_to_save` wraps a module: its name ends with an entry, dots or not."""
    return any(module.endswith(entry) for entry in entries(raw, "modules_to_save"))


def lands(contents: Contents, item: NamedTensor) -> bool:
    """Decide whether PEFT loads a tensor into a model that transformers builds now.

    Other tensors are left out with a warning; where a parameter of `modules_to_save` is
    not found, loading ends in a KeyError.
    """
    if item.written == contents.live(item.written):
        return True
    if contents.text_only:
        return False
    if any(under(item.written, old) for old in _UNWRAPPED):
        return True
    return item.key.part in LORA and any(under(item.written, old) for old in _renamed(contents))


def is_renamed_for_some(item: NamedTensor) -> bool:
    """Decide whether PEFT renames a tensor for some family, and drops it for others."""
    every = {old for prefixes in RENAMED_BY_PEFT.values() for old in prefixes}
    return item.key.part in LORA and any(under(item.written, old) for old in every)


def _renamed(contents: Contents) -> frozenset[str]:
    """Return the old prefixes that PEFT renames for the adapter's family.

    All candidates must have one; of an unknown family it is not known.
    """
    rows = [frozenset(RENAMED_BY_PEFT.get(name, ())) for name in candidates(contents)]
    return frozenset.intersection(*rows) if rows else frozenset()


def entries(raw: Mapping[str, Any], field: str) -> Sequence[str]:
    """Return a setting that is a list of names, empty where it is anything else."""
    value = raw.get(field)
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def under(name: str, parent: str) -> bool:
    """Decide whether a dotted name is a module or lies in it."""
    return name == parent or name.startswith(parent + ".")


def _is_parameter(raw: Mapping[str, Any], name: str) -> bool:
    """Decide whether `target_parameters` selects a module's weight, or an expert's part of one."""
    listed = entries(raw, "target_parameters")
    parameter = _EXPERT.sub(r"\g<owner>.\g<parameter>", name)
    return any(f".{n}".endswith(f".{e}") for n in (parameter, f"{name}.weight") for e in listed)


def _named(wanted: object, name: str) -> bool:
    """Match a name with a pattern for the whole of it, or with a list of names or dotted ends."""
    if isinstance(wanted, str):
        return _matches(wanted, name)
    if not isinstance(wanted, list):
        return False
    return any(name == e or name.endswith(f".{e}") for e in wanted if isinstance(e, str))


def _is_saved(raw: Mapping[str, Any], name: str) -> bool:
    """Decide whether `modules_to_save` excludes a name from LoRA; here an entry is a pattern."""
    return any(_matches(rf"(.*\.)?{e}(\..*)?", name) for e in entries(raw, "modules_to_save"))


def _layer_is_selected(raw: Mapping[str, Any], name: str) -> bool:
    layers = raw.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    pattern = raw.get("layers_pattern")
    patterns = [pattern] if pattern and isinstance(pattern, str) else entries(raw, "layers_pattern")
    # Any numbered list of layers counts where none is named, and the first number in the name.
    starts = [rf"(?:.*?\.)?{p}" for p in patterns] or [r".*?\.[^.]*"]
    for start in starts:
        for end in match_ends(start, name):
            if match := re.match(r"\.(\d+)\.", name[end:]):
                return int(match[1]) in (layers if isinstance(layers, list) else [layers])
    return False


def _matches(pattern: str, name: str) -> bool:
    try:
        return matches_whole(pattern, name)
    except (re.error, OverflowError, RecursionError) as error:
        raise MergeError(
            f"{pattern!r} is no regular expression: {error}", hint="fix the settings"
        ) from None
