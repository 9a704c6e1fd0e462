"""The family of models that an adapter was trained on, guessed from its folder.

Families are called as transformers calls them. The settings name the class where PEFT was given no
task type; otherwise the base model's name decides, or the names of modules that only some have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..adapter import layout
from ..adapter.tensor_files import NON_LORA
from ..families import BY_MODULE, FAMILIES, HF_OLD_NAMES, ORIGINAL
from .contents import Contents


@dataclass(frozen=True)
class FamilyGuess:
    """A guess.

    Attributes:
        candidates: Families it may be; none where it is unknown.
        source: What the guess is based on.
    """

    candidates: tuple[str, ...] = ()
    source: str = ""

    @property
    def sure(self) -> bool:
        """Whether the settings themselves say it."""
        return self.source == "settings"

    def __str__(self) -> str:
        if not self.candidates:
            return "unknown"
        return f"{' or '.join(self.candidates)} (from the {self.source})"


def guess_family(contents: Contents) -> FamilyGuess:
    """Guess the family that an adapter was trained on."""
    mapping = contents.config.raw.get("auto_mapping")
    library = str(mapping.get("parent_library") or "") if isinstance(mapping, dict) else ""
    if match := re.match(r"transformers\.models\.(\w+)\.", library):
        return FamilyGuess((match[1],), "settings")
    # From the end of a path, since a Hub cache ends in a hash.
    for part in reversed(PurePosixPath(contents.config.base.lower()).parts):
        name = re.sub(r"[\s._]+", "-", part)
        for family in FAMILIES:
            if re.search(family.base_name, name):
                return FamilyGuess((family.name, *family.also), "base's name")
    return _by_modules(contents)


def candidates(contents: Contents) -> tuple[str, ...]:
    """Return the family of the base, where one is given and says so, or the guessed ones."""
    if contents.base is not None and contents.base.family:
        return (contents.base.family,)
    return guess_family(contents).candidates


def _by_modules(contents: Contents) -> FamilyGuess:
    source = "module names"
    if any(file.path.name == NON_LORA for file in contents.files):
        return FamilyGuess((ORIGINAL,), source)
    names = [layout.canonical(item.written) for item in contents.items]
    for pattern, candidates in BY_MODULE:
        if any(re.match(pattern, name) for name in names):
            return FamilyGuess(candidates, source)
    if contents.layout == layout.HF_OLD:
        return FamilyGuess(HF_OLD_NAMES, source)
    return FamilyGuess()
