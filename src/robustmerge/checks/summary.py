"""A summary of one adapter from its settings and headers, refused or not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..adapter import layout
from ..errors import MergeError
from .compare import UpdateNorm, measure_norm
from .contents import Contents, LoraPair
from .family import guess_family
from .remarks import find_remarks


@dataclass(frozen=True)
class TowerSummary:
    """The adapted modules in one part of the model.

    Attributes:
        modules: How many.
        blocks: In how many numbered blocks.
        leaves: Last parts of their names.
    """

    modules: int
    blocks: int
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class AdapterSummary:
    """One adapter.

    Attributes:
        label: What the user called it.
        base: Name or path of its base model, '' where it names none.
        family: What kind of model that is, or "unknown".
        layout: How the modules are named.
        towers: The adapted modules by part: language, vision, connector, other.
        ranks: How many modules have each rank.
        scalings: How many modules have each scaling, in words.
        dtypes: How many tensors have each type.
        bytes: Size of the weights' files.
        extras: Shapes of the fully trained parameters.
        norm: Frobenius norm of the whole update, None where it is refused.
        unusual: Remarks for a careful user.
        refusals: Why it cannot be merged.
    """

    label: str
    base: str
    family: str
    layout: str
    towers: Mapping[str, TowerSummary]
    ranks: Mapping[int, int]
    scalings: Mapping[str, int]
    dtypes: Mapping[str, int]
    bytes: int
    extras: Mapping[str, tuple[int, ...]]
    norm: float | None
    unusual: tuple[str, ...]
    refusals: tuple[str, ...] = field(default=())


def summarize(contents: Contents) -> AdapterSummary:
    """Summarize an adapter; reads all factors for the norm, those of one module at a time."""
    measured, refusals = _norm(contents)
    notes = [*find_remarks(contents), *_of_norm(measured)]
    return AdapterSummary(
        label=contents.label,
        base=contents.config.base,
        family=str(guess_family(contents)),
        layout=contents.layout,
        towers=_towers(contents.loras),
        ranks=dict(sorted(Counter(lora.rank for lora in contents.loras).items())),
        scalings=_scalings(contents),
        dtypes=dict(Counter(i.ref.spec.dtype for i in contents.items).most_common()),
        bytes=sum(file.path.stat().st_size for file in contents.files),
        extras={layout.canonical(i.written): i.shape for i in contents.fully_trained},
        norm=measured.whole if measured else None,
        unusual=tuple(notes),
        refusals=tuple(map(str, refusals)),
    )


def leaf(name: str) -> str:
    """Return the last part of a name, with the word before a number: `mlp.0`, `q_proj`."""
    parts = name.split(".")
    start = len(parts) - 1
    while start > 0 and parts[start].isdigit():
        start -= 1
    return ".".join(parts[start:])


def block(name: str) -> str:
    """Return the numbered block a module lies in, '' where it lies in none."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return "" if number is None else ".".join(parts[: number + 1])


def _towers(loras: tuple[LoraPair, ...]) -> dict[str, TowerSummary]:
    towers = {}
    for part in ("language", "vision", "connector", "other"):
        names = [lora.name for lora in loras if layout.tower(lora.name) == part]
        if names:
            blocks = {block(name) for name in names} - {""}
            towers[part] = TowerSummary(
                len(names), len(blocks), tuple(sorted({leaf(n) for n in names}))
            )
    return towers


def _scalings(contents: Contents) -> dict[str, int]:
    """Count the modules of each scaling, and write how it is computed."""
    config, counts = contents.config, Counter[str]()
    for lora in contents.loras:
        if lora.rank < 1:
            continue
        try:
            scaling = config.scaling(lora.written, lora.rank)
        except MergeError:  # unusable settings, for which the adapter is refused
            return {}
        root = math.sqrt(lora.rank)
        alpha = scaling * (root if config.rslora else lora.rank)
        how = f"alpha {alpha:g} / " + (f"√{lora.rank}, rsLoRA" if config.rslora else f"{lora.rank}")
        counts[f"{scaling:.4g} = {how}"] += 1
    return dict(counts.most_common())


def _norm(contents: Contents) -> tuple[UpdateNorm | None, tuple[MergeError, ...]]:
    if contents.adapter is None:
        return None, contents.refusals
    try:
        return measure_norm(contents.adapter), ()
    except MergeError as error:
        return None, (error,)


def _of_norm(measured: UpdateNorm | None) -> list[str]:
    if measured is None or not measured.zero:
        return []
    if measured.zero == measured.modules:
        return ["the whole update is zero: the adapter was never trained"]
    return [f"the update of {measured.zero} of {measured.modules} modules is zero"]
