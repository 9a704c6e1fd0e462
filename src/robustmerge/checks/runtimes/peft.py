"""PEFT: which tensors find their module, and what transformers' own adapter methods ask of it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ...adapter.keys import Part
from ...adapter.wrappers import unwrap
from ...errors import few
from ..contents import Contents
from ..family import candidates
from ..findings import OK, Finding, fails, note
from ..peft_rules import is_renamed_for_some, lands, selects
from .experts import stacked_are_read
from .shared import REWRITE, Runtime


def tensors_find_modules(contents: Contents) -> Finding:
    """Check the names: PEFT leaves tensors that no module has out, with only a warning."""
    loaded = [i for i in contents.items if i.key.part is not Part.BASE]
    lost = [i for i in loaded if not lands(contents, i)]
    if not lost:
        return OK
    if not candidates(contents) and all(is_renamed_for_some(i) for i in lost):
        return note(
            f"{len(lost)} of {len(loaded)} tensors have names that PEFT renames for some families "
            f"and drops for others, such as {lost[0].written}",
            "name the base, --base MODEL, or merge with --layout hf",
        )
    kind = fails if contents.text_only is False else note
    where = (
        "" if contents.text_only is False else " (fine if the base is text-only: --base checks it)"
    )
    return kind(
        f"with transformers since 4.52, {len(lost)} of {len(loaded)} tensors find no module, such "
        f"as {lost[0].written}{where}",
        "merge with --layout hf",
    )


def names_are_unwrapped(contents: Contents) -> Finding:
    """Check for wrappers in names, with which PEFT finds no module."""
    wrapped = {i.ref.name: w for i in contents.items if (w := unwrap(i.ref.name)[1])}
    if not wrapped:
        return OK
    first = next(iter(wrapped))
    return fails(
        f"{len(wrapped)} of {len(contents.items)} names have {', '.join(wrapped[first])} in them, "
        f"which wrapped the model in training and is in no model: {first}",
        REWRITE,
    )


def settings_select_modules(contents: Contents) -> Finding:
    """Check that the settings still select the modules; other tensors are dropped silently."""
    names = {lora.written: contents.live(lora.written) for lora in contents.loras}
    raw = contents.config.raw
    lost = [
        n for w, n in names.items() if selects(raw, n) is False and selects(raw, w) is not False
    ]
    if not lost:
        return OK
    return fails(
        f"target_modules means modules by old names and selects {few(lost, 1)} no longer",
        "merge with --layout hf",
    )


def version_note() -> str:
    """Say what the installed transformers refuses with the installed PEFT, '' where nothing.

    Loading works all the same; what stops are the methods that transformers adds to its models.
    """
    try:
        have, transformers = version("peft"), version("transformers")
    except PackageNotFoundError:
        return ""
    need = _required_by_transformers()
    if not need or _numbers(have) >= _numbers(need):
        return ""
    return (
        f"transformers {transformers} asks for PEFT {need} in its own adapter methods "
        f"(set_adapter, disable_adapters, save_pretrained, …), and PEFT {have} is installed: "
        "from_pretrained and load_adapter work, these methods do not. Use "
        "PeftModel.from_pretrained(base_model, FOLDER), whose methods work"
    )


def _required_by_transformers() -> str:
    """Read the oldest PEFT from the source of transformers, which takes seconds to import."""
    spec = find_spec("transformers")
    path = Path(spec.origin).with_name("integrations") / "peft.py" if spec and spec.origin else None
    text = path.read_text(encoding="utf-8") if path and path.is_file() else ""
    match = re.search(r'^MIN_PEFT_VERSION = "([\d.]+)"', text, re.M)
    return match[1] if match else ""


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (0, 22, 0) of 0.22.0rc1."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


PEFT = Runtime(
    "peft",
    "PEFT 0.21",
    {
        "wrappers": names_are_unwrapped,
        "names": tensors_find_modules,
        "experts' axes": stacked_are_read,
        "settings": settings_select_modules,
    },
    decides_exit_code=True,
)
