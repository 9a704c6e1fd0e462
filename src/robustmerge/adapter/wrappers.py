"""Wrappers that training tools put into the names of a model's tensors, and that no model has.

    _orig_mod.                     torch.compile, in front of a model or of every block
    module.                        DistributedDataParallel, DeepSpeed; always in front
    _fsdp_wrapped_module.          FSDP; _fpw_module. before torch 2.0
    _checkpoint_wrapped_module.    activation checkpointing
    _forward_module.               Lightning Fabric
    pretrained_model.              TRL's models with a value head; always in front
    base_model.model. twice        a PEFT model inside another

A result under such names loads nothing, with a warning at most, so that they are left out. Another
wrapper is refused: what it stands for cannot be known.
"""

from __future__ import annotations

PREFIX = "base_model.model."
"""What PEFT puts before the names of the model that it wraps, once."""

_ANYWHERE = (
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
)
_IN_FRONT = ("module", "pretrained_model")


def unwrap(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a tensor's name without PEFT's prefix and known wrappers, and those wrappers."""
    if not _may_be_wrapped(name):
        return name.removeprefix(PREFIX), ()
    segments = name.split(".")
    wrappers = [s for s in segments if s in _ANYWHERE]
    rest = ".".join(s for s in segments if s not in _ANYWHERE)
    prefixes = 0
    while True:
        first, _, tail = rest.partition(".")
        if rest.startswith(PREFIX):
            rest = rest.removeprefix(PREFIX)
            wrappers += [PREFIX[:-1]] if prefixes else []
            prefixes += 1
        elif first in _IN_FRONT and tail:
            wrappers.append(first)
            rest = tail
        else:
            return rest, tuple(dict.fromkeys(wrappers))


def unknown_wrapper(name: str) -> str:
    """Return what wraps a name and is not known, '' where nothing does.

    Args:
        name: A name that `unwrap` returned, without the suffix of a LoRA tensor.
    """
    front, prefix, _ = name.partition(f".{PREFIX}")
    if prefix:
        return front
    return next((s for s in name.split(".")[:-1] if s.startswith("_")), "")


def unwrap_pattern(pattern: str) -> str:
    """Return a pattern of module names, such as a key of `rank_pattern`, without known wrappers."""
    for wrapper in _ANYWHERE:
        if wrapper in pattern:
            pattern = pattern.replace(f"{wrapper}\\.", "").replace(f"{wrapper}.", "")
    return pattern


def _may_be_wrapped(name: str) -> bool:
    """Decide quickly: most names have PEFT's prefix once and no other wrapper."""
    rest = name.removeprefix(PREFIX)
    return "._" in rest or rest.startswith(("_", *(f"{w}." for w in _IN_FRONT), PREFIX))
