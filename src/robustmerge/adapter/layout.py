"""Names of modules in four layouts, and the canonical names used inside (those of `hf`).

The prefixes of the layouts are in the rows of `families`. The target of a rewriting follows from
the prefix alone, so names are made canonical one by one, and a file may even mix layouts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from .. import families
from ..errors import unknown
from ..families import Prefixes

HF, HF_OLD, FLAT, LLAVA = families.HF, families.HF_OLD, families.FLAT, families.LLAVA
LAYOUTS = families.LAYOUTS
NOT_LANGUAGE = families.NOT_LANGUAGE

_ANATOMIES = families.ANATOMIES
_LANGUAGE = frozenset(a.language for a in _ANATOMIES)
_VISION = frozenset(a.vision for a in _ANATOMIES)
CONNECTORS = frozenset(a.connector for a in _ANATOMIES if a.connector)
"""Segments of names that are a connector's."""


def _longest_first(pairs: Iterable[tuple[str, str]]) -> Prefixes:
    """Return each pair once, the longest prefix first: the first that matches a name is applied."""
    return tuple(sorted(set(pairs), key=lambda pair: (-len(pair[0]), pair)))


_FROM_CANONICAL: Mapping[str, Prefixes] = MappingProxyType(
    {
        layout: _longest_first(pair for a in _ANATOMIES for pair in a.written.get(layout, ()))
        for layout in LAYOUTS
    }
)
# `model` begins names of other layouts, too; what it stands for is among the pairs to read.
_TO_CANONICAL = _longest_first(
    [
        *(pair for a in _ANATOMIES for pair in a.read),
        *((new, old) for pairs in _FROM_CANONICAL.values() for old, new in pairs if new != "model"),
    ]
)


_EARLIER = _longest_first(pair for a in _ANATOMIES for pair in a.earlier)


@lru_cache(1 << 16)  # all adapters of one model have the same names
def canonical(name: str) -> str:
    """Return the canonical name of a module or parameter named in any layout."""
    return _rewrite(name, _TO_CANONICAL)


def written(name: str, layout: str) -> str:
    """Return a canonical name as a layout writes it.

    Raises:
        MergeError: the layout is unknown.
    """
    if layout not in _FROM_CANONICAL:
        raise unknown("layout", layout, LAYOUTS)
    return _rewrite(name, _FROM_CANONICAL[layout])


def live_names(name: str) -> tuple[str, ...]:
    """Return a module's names in the models of every generation that loads a tensor of this name.

    A tensor with a name of today is loaded by today's transformers; one with an older name by the
    generation that it is of, and by those after it, under their own names.
    """
    now = canonical(name)
    return (name,) if name == now else tuple(dict.fromkeys((name, _rewrite(now, _EARLIER), now)))


def detect(names: Iterable[str]) -> str:
    """Return the layout that writes all of these names; `hf` where none does."""
    names = list(names)
    for layout in LAYOUTS:
        if all(written(canonical(name), layout) == name for name in names):
            return layout
    return HF


def tower(name: str) -> str:
    """Return the part of the model a canonical name is in: language, vision, connector or other."""
    parts = set(name.split("."))
    if parts & CONNECTORS:
        return "connector"
    if parts & _VISION:
        return "vision"
    return "language" if parts & _LANGUAGE or name == "lm_head" else "other"


def _rewrite(name: str, pairs: Prefixes) -> str:
    for old, new in pairs:
        if name == old or name.startswith(old + "."):
            return new + name[len(old) :]
    return name
