"""Read adapters and merges module by module, and fill the tables.

Memory: the factors of a few modules for each worker, and the rows. Of the base one weight at a time
is read, for its norm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.reader import Adapter
from ..adapter.tensors import DTYPES
from ..depth import depths
from ..errors import MergeError, few
from ..factors import Factors, Stack
from ..threads import Progress, cores, side_by_side
from .direction import assignment
from .pooled import ModuleLocation
from .survey import ModuleInputs, Row, survey
from .tables import Diagnosis


def run(
    sources: Sequence[str],
    merges: Sequence[str],
    base: str | None,
    *,
    workers: int | None,
    progress: Progress,
) -> Diagnosis:
    """Take adapters apart, and merges of them.

    Raises:
        MergeError: One of them cannot be read, or they are not of one model.
    """
    if not sources:
        raise MergeError("no adapters", hint="name the folders of one or more adapters")
    if workers is not None and workers < 1:
        raise MergeError(
            f"{workers} workers cannot work", where="--workers", hint="--workers 1 or more"
        )
    if merges:
        assignment(torch.zeros(1, 1))  # a missing library is told before anything is read
    with ExitStack() as stack:
        adapters, merged = (
            [_open(source, stack) for source in group] for group in (sources, merges)
        )
        below = Base(base) if base is not None else None
        if below is not None:
            stack.callback(below.close)
        names = align.modules([*adapters, *merged], "zero")
        _check(adapters, merged, names, below)
        shapes = _shapes(names, [*adapters, *merged])
        labels = named([*sources, *merges])
        asked, made = labels[: len(sources)], labels[len(sources) :]

        def work(name: str) -> list[Row]:
            given = ModuleInputs(
                Stack.of([_factors(a, name, shapes[name]) for a in adapters], module=name),
                tuple(_factors(m, name, shapes[name]) for m in merged),
                _size(below, name),
            )
            return list(survey(given, asked, made))

        found = side_by_side(work, names, workers or cores(), progress)
        rows = [row for several in found for row in several]
    return Diagnosis.of(
        rows,
        _places(names, shapes, adapters),
        adapters=asked,
        merged=made,
        base=base,
        notes=_notes(adapters, merged),
    )


def named(sources: Sequence[str]) -> tuple[str, ...]:
    """A short name for each source: the end of its path, as long as it takes to tell them apart."""
    parts = [tuple(p for p in Path(source).parts if p != "/") or (source,) for source in sources]
    longest = max(map(len, parts))
    for length in range(1, longest + 1):
        short = ["/".join(p[-length:]) for p in parts]
        if len(set(short)) == len(set(parts)):
            break
    times = Counter(short)
    seen: Counter[str] = Counter()
    for i, name in enumerate(short):
        seen[name] += 1
        short[i] = name if times[name] == 1 else f"{name} ({seen[name]})"
    return tuple(short)


def _open(source: str, stack: ExitStack) -> Adapter:
    adapter = Adapter(source, dora=True)
    stack.callback(adapter.close)
    return adapter


def _check(
    adapters: Sequence[Adapter], merged: Sequence[Adapter], names: Sequence[str], base: Base | None
) -> None:
    """Check that all are of one model.

    Raises:
        MergeError: They are not.
    """
    known = {name for adapter in adapters for name in adapter.modules}
    for merge in merged:
        if not known & set(merge.modules):
            raise MergeError(
                "the merge has no module of the adapters",
                where=f"{merge.label}   {few(list(merge.modules), 1)}\n"
                f"{adapters[0].label}   {few(list(adapters[0].modules), 1)}",
                hint="--merged is for what was made of these adapters",
            )
    for name in names if base is not None else ():
        place = base.weight(name) if base else None
        if place is None or place.spec.dtype not in DTYPES:
            what = "has no weight" if place is None else f"stores as {place.spec.dtype} the weight"
            raise MergeError(
                f"the base {what} of {name}",
                where=base.label if base else "",
                hint="name the base the adapters were trained on, not quantized, or leave it out",
            )


def _shapes(names: Sequence[str], adapters: Iterable[Adapter]) -> Mapping[str, tuple[int, int]]:
    found = {name: m.shape for a in adapters for name, m in a.modules.items()}
    return {name: found[name] for name in names}


def _factors(adapter: Adapter, name: str, shape: tuple[int, int]) -> Factors:
    if name in adapter.modules:
        return adapter.factors(name)
    return Factors(torch.zeros(0, shape[1]), torch.zeros(shape[0], 0))


def _size(base: Base | None, name: str) -> float | None:
    """Norm of a module's weight."""
    place = base.weight(name) if base is not None else None
    return float(place.read().norm()) if place is not None else None


def _places(
    names: Sequence[str], shapes: Mapping[str, tuple[int, int]], adapters: Sequence[Adapter]
) -> list[ModuleLocation]:
    depth = depths(names)
    return [
        ModuleLocation(
            name,
            layout.tower(name),
            depth[name].layer,
            name.rpartition(".")[2],
            *shapes[name],
            adapters=sum(name in a.modules for a in adapters),
        )
        for name in names
    ]


def _notes(adapters: Sequence[Adapter], merged: Sequence[Adapter]) -> list[str]:
    notes = []
    bases = sorted({a.config.base or "(none)" for a in [*adapters, *merged]})
    if len(bases) > 1:
        notes.append(f"different base models are named, taken as one: {', '.join(bases)}")
    if any(a.config.dora for a in [*adapters, *merged]):
        notes.append("of DoRA adapters the updates B A are looked at, and not the magnitudes")
    if lacking := {a.label: n for a in adapters if (n := _lacks(a, adapters))}:
        counts = ", ".join(f"{label} ({n})" for label, n in lacking.items())
        notes.append(f"modules that only others have are zero updates: {counts}")
    return notes


def _lacks(adapter: Adapter, adapters: Sequence[Adapter]) -> int:
    return len({name for a in adapters for name in a.modules} - set(adapter.modules))
