"""Another kind of PEFT adapter as plain LoRA: exact where it is a low-rank or structured product.

Memory per worker is one module: its tensors and factors in float64, and the base's weight where
the change depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.reader import Adapter
from ..errors import MergeError, unknown
from ..factors import Dense, Factors
from ..files import expand_user, sha256
from ..linalg import norm, svd
from ..outputs import check_target, whole_folder
from ..threads import Progress, count_cores, run_side_by_side, silent
from .dense import decompose
from .extract import TYPES
from .folder import StagedUpdate, staging, write_adapter
from .ranks import RankRule, SingularValues, parse_rank
from .relayout import change_layout
from .report import CONVERSION, DerivedReport, ModuleEnergy
from .source import KindAdapter


def convert_adapter(
    source: str | Path,
    output: str | Path,
    *,
    base: str | Path | None = None,
    initial: str | Path | None = None,
    rank: int | str | None = None,
    dtype: str = "float32",
    target: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DerivedReport:
    """Write an adapter of another kind as plain LoRA; the folder appears whole or not at all.

    Args:
        source: Adapter folder or Hub id.
        output: The folder to write.
        base: The base model, for kinds that are determined by its shapes or weights.
        initial: The adapter as it was before training, for PiSSA and related starts.
        rank: A number, energy:SHARE or a cut; nothing is cut where it is not given.
        dtype: Type of the result.
        target: For LoRA on a mixture of experts: experts, fused or projections.
        workers: Modules computed at the same time; all cores where not given.
        force: Replace a conversion that is already there.
        progress: Called after every module.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    rule, output = parse_rank(rank) if rank is not None else None, expand_user(output)
    if dtype not in TYPES:
        raise unknown("type", dtype, TYPES)
    if target is not None:
        _check_alone({"--initial": initial, "--rank": rank})
        return change_layout(
            source,
            output,
            target=target,
            base=base,
            dtype=TYPES[dtype],
            force=force,
            progress=progress,
        )
    if workers is not None and workers < 1:
        raise MergeError(f"{workers} workers cannot work", hint="--workers 1 or more")
    with ExitStack() as stack:
        adapter = KindAdapter.open(source)
        stack.callback(adapter.opened.close)
        model = Base(str(base), headers_only=adapter.kind.needs != "weights") if base else None
        before = Adapter(initial, untrained=True) if initial is not None else None
        for opened in (model, before):
            if opened is not None:
                stack.callback(opened.close)
        inputs = [adapter.opened.folder, *(o.folder for o in (model, before) if o)]
        check_target(output, CONVERSION, inputs, force=force)
        folder = stack.enter_context(whole_folder(output, CONVERSION, inputs, force=force))
        inside = stack.enter_context(staging(folder))
        work = partial(
            _convert, adapter=adapter, base=model, initial=before, rule=rule, folder=inside
        )
        names = sorted(adapter.modules, key=align.natural_key)
        done = list(run_side_by_side(work, names, workers or count_cores(), progress))
        report = DerivedReport(
            kind=CONVERSION,
            source=adapter.opened.label,
            base=adapter.config.base or (model.label if model else ""),
            rule="" if rank is None else str(rank),
            rank=max(line.rank for line, _ in done),
            dtype=TYPES[dtype],
            layout=layout.detect(names),
            modules=tuple(line for line, _ in done),
            extras=(*(extra.written for extra in adapter.extras), *adapter.opened.other_specs),
            inputs={"adapter": {p.name: sha256(p) for p in adapter.opened.paths}},
            output=output,
        )
        updates = [update for _, update in done if update is not None]
        return _write(folder, adapter, updates, report).written(folder)


def _write(
    folder: Path, adapter: KindAdapter, updates: list[StagedUpdate], report: DerivedReport
) -> DerivedReport:
    if not updates:
        raise MergeError(
            "every update is zero",
            where=adapter.opened.where,
            hint="the base is the result",
        )
    written = write_adapter(
        folder,
        updates,
        adapter.extras,
        raw=adapter.config.raw,
        base=report.base,
        dtype=report.dtype,
    )
    adapter.opened.pass_on(folder)
    return replace(report, notes=written.remarks)


def _check_alone(options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value is not None:
            raise MergeError(
                "another layout of the same updates needs nothing of it",
                where=f"--layout with {option}",
                hint=f"leave {option} out; `robustmerge resize` changes a rank",
            )


def _convert(
    name: str,
    *,
    adapter: KindAdapter,
    base: Base | None,
    initial: Adapter | None,
    rule: RankRule | None,
    folder: Path,
) -> tuple[ModuleEnergy, StagedUpdate | None]:
    """Convert one module and put its factors aside."""
    module = adapter.module(name, base, initial)
    change = module.changed(adapter.kind.change)
    if module.base_shape is not None and change.shape != module.base_shape:
        raise MergeError(
            f"the update of {name} is {list(change.shape)}, the weight {list(module.base_shape)}",
            where=f"{adapter.opened.where}\n{base.folder if base else ''}",
            hint="--base is the model that the adapter was trained on",
        )
    factors, kept = _cut(change, rule, name)
    line = ModuleEnergy(layout.canonical(name), factors.rank, kept, norm(change))
    if factors.rank == 0:
        return line, None
    file = folder / f"{name}.safetensors"
    return line, StagedUpdate.put(factors, line.name, name, file)


def _cut(change: Factors | Dense, rule: RankRule | None, name: str) -> tuple[Factors, float]:
    """Return a change at the rank that a rule chooses, and the share of energy that it keeps.

    Without a rule, factors of a rank above that of the matrix are the only ones that change form.
    """
    if isinstance(change, Dense):
        if rule is None:
            raise MergeError(
                "the change is of full rank, so that a LoRA holds a part of it",
                where=name,
                hint="--rank energy:0.95 or a number says how much",
            )
        decomposed, rank = decompose(change.delta, rule)
        return decomposed.cut(rank)
    most = min(change.shape)
    if rule is None and change.rank <= most:
        return change, 1.0
    if change.rank == 0:
        return change, 1.0
    decomposed = svd(change)
    if rule is None:
        return decomposed.cut(most)
    # Directions beyond the factors' rank are zeros, which a median counts.
    values = torch.cat([decomposed.S, decomposed.S.new_zeros(max(most - len(decomposed.S), 0))])
    chosen = rule.choose(SingularValues(values[:most], decomposed.energy, change.shape))
    assert chosen is not None, "all values determine a rank"
    return decomposed.cut(min(chosen, change.rank))
