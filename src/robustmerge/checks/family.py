"""Which family of models an adapter was trained on, from what lies in its folder.

Families are called as transformers calls them. The settings name the class where PEFT was given no
task type; otherwise the base model's name tells, or the names of modules that only some have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..adapter import layout
from ..adapter.reader import NON_LORA
from .contents import Contents

_BY_NAME = (
    (r"llava-?(onevision|.*\bov\b)", ("llava_onevision",)),
    (r"llava-?(next|v?1-6)", ("llava_next",)),
    (r"qwen-?2-5-vl", ("qwen2_5_vl",)),
    (r"qwen-?3-vl", ("qwen3_vl",)),
    (r"qwen-?2-vl", ("qwen2_vl",)),
    (r"internvl", ("internvl",)),
    (r"smolvlm", ("smolvlm", "idefics3")),  # the first SmolVLM is an idefics3
    (r"idefics-?3", ("idefics3",)),
    (r"llava", ("llava",)),
)
"""What a model's name contains once every separator is a hyphen, and its family."""

_LLAVAS = ("llava", "llava_next", "llava_onevision")
_BY_MODULE = (
    (r"model\.(text_model|vision_model|connector)\b", ("idefics3", "smolvlm")),
    (r"model\.visual\..*(deepstack_merger_list|linear_fc\d)", ("qwen3_vl",)),
    (r"model\.visual\.blocks\..*(gate|up|down)_proj", ("qwen2_5_vl",)),
    (r"model\.visual\.blocks\..*fc\d", ("qwen2_vl",)),
    (r"model\.visual\b", ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")),
    (r"model\.vision_tower\.encoder\.layer\.", ("internvl",)),
    (r"model\.vision_tower\.encoder\.layers\.", _LLAVAS),
    (r"model\.(vision_tower|multi_modal_projector)\b", (*_LLAVAS, "internvl")),
)
"""The first pattern found at the beginning of some canonical name tells."""

KNOWN = frozenset(family for _, candidates in _BY_NAME for family in candidates)


@dataclass(frozen=True)
class FamilyGuess:
    """A guess.

    Attributes:
        candidates: What it may be; none where nothing tells.
        told_by: What told it.
    """

    candidates: tuple[str, ...] = ()
    told_by: str = ""

    @property
    def sure(self) -> bool:
        """Whether the settings themselves say it."""
        return self.told_by == "settings"

    def __str__(self) -> str:
        if not self.candidates:
            return "unknown"
        return f"{' or '.join(self.candidates)} (from the {self.told_by})"


def guess(contents: Contents) -> FamilyGuess:
    """The family an adapter belongs to."""
    mapping = contents.config.raw.get("auto_mapping")
    library = str(mapping.get("parent_library") or "") if isinstance(mapping, dict) else ""
    if match := re.match(r"transformers\.models\.(\w+)\.", library):
        return FamilyGuess((match[1],), "settings")
    # Of a path, the last part that tells: a Hub cache ends in a hash.
    for part in reversed(PurePosixPath(contents.config.base.lower()).parts):
        name = re.sub(r"[\s._]+", "-", part)
        for pattern, candidates in _BY_NAME:
            if re.search(pattern, name):
                return FamilyGuess(candidates, "base's name")
    return _by_modules(contents)


def _by_modules(contents: Contents) -> FamilyGuess:
    told_by = "module names"
    if any(file.path.name == NON_LORA for file in contents.files):
        return FamilyGuess(("llava",), told_by)
    names = [layout.canonical(item.written) for item in contents.items]
    for pattern, candidates in _BY_MODULE:
        if any(re.match(pattern, name) for name in names):
            return FamilyGuess(candidates, told_by)
    if contents.layout == layout.HF_OLD:
        return FamilyGuess((*_LLAVAS, "internvl"), told_by)
    return FamilyGuess()
