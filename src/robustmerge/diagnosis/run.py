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
from ..depth import find_depths
from ..errors import MergeError, enough_memory, few
from ..factors import Factors, Stack
from ..threads import Progress, count_cores, run_side_by_side
from .direction import match_directions
from .pooled import ModuleLocation
from .survey import ModuleInputs, Row, survey_module
from .tables import Diagnosis


@enough_memory()
def run_diagnosis(
    sources: Sequence[str],
    merges: Sequence[str],
    base: str | None,
    *,
    workers: int | None,
    progress: Progress,
) -> Diagnosis:
    """Diagnose adapters, and merges of them.

    Raises:
        MergeError: an adapter cannot be read, or the adapters are of different models.
    """
    if not sources:
        raise MergeError("no adapters", hint="name the folders of one or more adapters")
    if workers is not None and workers < 1:
        raise MergeError(
            f"{workers} workers cannot work", where="--workers", hint="--workers 1 or more"
        )
    if merges:
        match_directions(torch.zeros(1, 1))  # fail early if scipy is not installed
    with ExitStack() as stack:
        adapters, merged = (
            [_open(source, stack) for source in group] for group in (sources, merges)
        )
        weights = Base(base) if base is not None else None
        if weights is not None:
            stack.callback(weights.close)
        names = align.select_modules([*adapters, *merged], "zero")
        _check(adapters, merged, names, weights)
        shapes = _shapes(names, [*adapters, *merged])
        labels = short_names([*sources, *merges])
        adapter_names, merge_names = labels[: len(sources)], labels[len(sources) :]

        def survey(name: str) -> list[Row]:
            inputs = ModuleInputs(
                Stack.of([_factors(a, name, shapes[name]) for a in adapters], module=name),
                tuple(_factors(m, name, shapes[name]) for m in merged),
                _base_norm(weights, name),
            )
            return list(survey_module(inputs, adapter_names, merge_names))

        tables = run_side_by_side(survey, names, workers or count_cores(), progress)
        rows = [row for table in tables for row in table]
    return Diagnosis.of(
        rows,
        _locations(names, shapes, adapters),
        adapters=adapter_names,
        merged=merge_names,
        base=base,
        notes=_notes(adapters, merged),
    )


def short_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the shortest ends of the paths that differ, one for each source."""
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
    """Check that adapters, merges and base are of one model.

    Raises:
        MergeError: a merge has no module of the adapters, or the base has no weight for a module.
    """
    known = {name for adapter in adapters for name in adapter.modules}
    for merge in merged:
        if not known & set(merge.modules):
            raise MergeError(
                "the merge has no module of the adapters",
                where=f"{merge.label}   {few(list(merge.modules), 1)}\n"
                f"{adapters[0].label}   {few(list(adapters[0].modules), 1)}",
                hint="--merged is for merges of these adapters",
            )
    for name in names if base is not None else ():
        tensor = base.weight(name) if base else None
        if tensor is None or tensor.spec.dtype not in DTYPES:
            problem = (
                "has no weight" if tensor is None else f"stores as {tensor.spec.dtype} the weight"
            )
            raise MergeError(
                f"the base {problem} of {name}",
                where=base.label if base else "",
                hint="name the base of the adapters, not quantized, or omit --base",
            )


def _shapes(names: Sequence[str], adapters: Iterable[Adapter]) -> Mapping[str, tuple[int, int]]:
    shapes = {name: m.shape for a in adapters for name, m in a.modules.items()}
    return {name: shapes[name] for name in names}


def _factors(adapter: Adapter, name: str, shape: tuple[int, int]) -> Factors:
    if name in adapter.modules:
        return adapter.factors(name)
    return Factors(torch.zeros(0, shape[1]), torch.zeros(shape[0], 0))


def _base_norm(base: Base | None, name: str) -> float | None:
    """Return the norm of a module's weight."""
    tensor = base.weight(name) if base is not None else None
    return float(tensor.read().norm()) if tensor is not None else None


def _locations(
    names: Sequence[str], shapes: Mapping[str, tuple[int, int]], adapters: Sequence[Adapter]
) -> list[ModuleLocation]:
    depth = find_depths(names)
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
    if missing := {a.label: n for a in adapters if (n := _count_missing(a, adapters))}:
        counts = ", ".join(f"{label} ({n})" for label, n in missing.items())
        notes.append(f"modules that only others have are zero updates: {counts}")
    return notes


def _count_missing(adapter: Adapter, adapters: Sequence[Adapter]) -> int:
    return len({name for a in adapters for name in a.modules} - set(adapter.modules))
