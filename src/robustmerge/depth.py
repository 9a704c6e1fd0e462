"""Where in the model a module is, read from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LAYER = re.compile(r"(.*?)\.(\d+)\.")  # part of the model, number of the layer


@dataclass(frozen=True)
class Depth:
    """Where in the model a module is.

    Attributes:
        layer: Number of its layer, from 0; None for modules outside the layers.
        layers: How many layers its part of the model has.
    """

    layer: int | None
    layers: int


def kind_of(name: str) -> str:
    """Return what a module is called in every layer, such as layers.*.mlp.up_proj."""
    return _LAYER.sub(r"\1.*.", name, count=1)


def find_depths(names: Iterable[str]) -> dict[str, Depth]:
    """Return every module's layer, and how many layers its part of the model has.

    The first number in a name is its layer; what stands before it is the part. Adapters that end
    before the last layer make the model look shallower by the layers that are missing.
    """
    matches = {name: _LAYER.match(name) for name in names}
    layers: dict[str, int] = {}
    for match in filter(None, matches.values()):
        layers[match[1]] = max(layers.get(match[1], 0), int(match[2]) + 1)
    return {
        name: Depth(int(match[2]), layers[match[1]]) if match else Depth(None, 1)
        for name, match in matches.items()
    }
