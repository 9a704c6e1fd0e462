"""Sentences about a class, for each task, as CLIP's authors published them.

Source: data/prompts.md of openai/CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

_PHOTO = ("a photo of a {}.", "a photo of the {}.")
_NUMBER = ('a photo of the number: "{}".',)
_TEXTURES = ("texture", "pattern", "thing", "object")
_ABOVE = tuple(
    f"{kind} {what}"
    for what, kind in product(("imagery", "photo", "view"), ("satellite", "aerial"))
)

TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cars": (
            *_PHOTO,
            "a photo of my {}.",
            "i love my {}!",
            *(f"a photo of my {how} {{}}." for how in ("dirty", "clean", "new", "old")),
        ),
        "mnist": _NUMBER,
        "sun397": _PHOTO,
        "gtsrb": tuple(
            f'a {how} photo of a "{{}}" traffic sign.'
            for how in ("zoomed in", "centered", "close up")
        ),
        "resisc45": tuple(
            f"{what} of {article}{{}}." for article, what in product(("", "a ", "the "), _ABOVE)
        ),
        "dtd": tuple(
            f"a photo of {article} {{}} {what}."
            for article, what in product(("a", "the"), _TEXTURES)
        ),
        "eurosat": tuple(
            f"a centered satellite photo of {article}{{}}." for article in ("", "a ", "the ")
        ),
        "svhn": _NUMBER,
    }
)
"""By name of a task; {} stands for the class."""


def sentences(task: str, name: str) -> list[str]:
    """Return the sentences about a class; a task without its own gets those about a photo.

    >>> sentences("svhn", "7"), sentences("resisc45", "golf course")[-1]
    (['a photo of the number: "7".'], 'aerial view of the golf course.')
    """
    return [template.format(name) for template in TEMPLATES.get(task, _PHOTO)]
