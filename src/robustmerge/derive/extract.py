"""A LoRA adapter out of a full fine-tune: the leading directions of what changed.

Every changed weight of a linear layer is cut to the rank that a rule chooses (`ranks.py`); what
else changed is written as it is, the way merges write fully trained parameters. Models are read
shard by shard. Memory per worker is one module: its difference in float32 and what its
decomposition takes (`dense.py`), 450 MB for 4096 x 11008 at rank 64, and about 1 GB where a rule
needs every singular value; for a fully trained parameter, its stored bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..adapter import layout
from ..adapter.base import Base
from ..adapter.tensors import DTYPES
from ..errors import MergeError, few, unknown
from ..files import expand_user, sha256
from ..outputs import check_target, whole_folder
from ..threads import Progress, count_cores, run_side_by_side, silent
from .dense import decompose
from .folder import PassedOn, StagedUpdate, staging, write_adapter
from .pairs import WeightPair, pair_models
from .ranks import RankRule, parse_rank
from .report import EXTRACTION, DerivedReport, ModuleEnergy

TYPES = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}
"""Safetensors names of the types that a user may ask for."""
_BARE = ("", "model")
"""Names of modules whose own parameters no PEFT adapter can hold."""


def extract_adapter(
    source: str | Path,
    output: str | Path,
    *,
    base: str | Path,
    rank: int | str,
    dtype: str = "float32",
    layout_name: str | None = None,
    beside: bool = False,
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DerivedReport:
    """Write a LoRA adapter of a full fine-tune; the folder appears whole or not at all.

    Args:
        source: The fine-tuned model, a folder or Hub id.
        output: The folder to write.
        base: The model it was trained from, likewise.
        rank: A number, energy:SHARE, marchenko-pastur or gavish-donoho.
        dtype: Type of the low-rank factors.
        layout_name: How modules are named in the result: hf unless given, and flat for a language
            model alone.
        beside: Write fully trained parameters to a file next to the adapter.
        workers: Modules computed at the same time; all cores where not given.
        force: Replace an adapter that is already there.
        progress: Called after every module.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    rule, output = parse_rank(rank), expand_user(output)
    if dtype not in TYPES:
        raise unknown("type", dtype, TYPES)
    if workers is not None and workers < 1:
        raise MergeError(f"{workers} workers cannot work", hint="--workers 1 or more")
    with ExitStack() as stack:
        models = [Base(str(source)), Base(str(base))]
        for model in models:
            stack.callback(model.close)
        inputs = [model.folder for model in models]
        check_target(output, EXTRACTION, inputs, force=force)
        target = layout_name or (layout.FLAT if models[1].text_only else layout.HF)
        changes = _find_changes(pair_models(*models), models, target, beside=beside)
        hashes = stack.enter_context(_hashes(models))
        folder = stack.enter_context(whole_folder(output, EXTRACTION, inputs, force=force))
        inside = stack.enter_context(staging(folder))
        work = partial(_cut, rule=rule, target=target, folder=inside)
        done = list(run_side_by_side(work, changes.linear, workers or count_cores(), progress))
        written = write_adapter(
            folder,
            _kept([update for _, update in done], str(rank)),
            changes.extras,
            raw={"task_type": "CAUSAL_LM"},
            base=models[1].label,
            dtype=TYPES[dtype],
            beside=beside,
        )
        return DerivedReport(
            kind=EXTRACTION,
            source=models[0].label,
            base=models[1].label,
            rule=str(rank),
            rank=written.rank,
            dtype=TYPES[dtype],
            layout=target,
            modules=tuple(line for line, _ in done),
            extras=tuple(extra.written for extra in changes.extras),
            inputs=dict(zip(("tuned", "base"), [h.result() for h in hashes], strict=True)),
            output=output,
            notes=(*written.remarks, *_rounding(changes.linear)),
        ).written(folder)


def _rounding(pairs: Sequence[WeightPair]) -> tuple[str, ...]:
    """Say where a difference is a rounding, too."""
    names = [pair.name for pair in pairs if pair.rounded]
    if not names:
        return ()
    return (
        f"{len(names)} tensors of the fine-tune are in a type with fewer bits than the base's, so "
        "that what rounding did to them is part of the update; a base in the fine-tune's type has "
        "none of it",
    )


def _kept(updates: Sequence[StagedUpdate | None], rank: str) -> list[StagedUpdate]:
    kept = [update for update in updates if update is not None]
    if not kept:
        raise MergeError(
            "no direction of any change is above the cut",
            where=f"--rank {rank}",
            hint="--rank energy:0.95, or a number",
        )
    return kept


@dataclass(frozen=True)
class ModelChanges:
    """What a fine-tuning changed.

    Attributes:
        linear: Weights that get a low-rank update, unless they turn out to be unchanged.
        extras: Fully trained parameters that differ.
    """

    linear: tuple[WeightPair, ...]
    extras: tuple[PassedOn, ...]


def _find_changes(
    pairs: Sequence[WeightPair], models: Sequence[Base], target: str, *, beside: bool
) -> ModelChanges:
    changed = [pair for pair in pairs if pair.changed()]
    if not changed:
        raise MergeError(
            "the two models are the same",
            where="\n".join(str(model.folder) for model in models),
            hint="name the fine-tuned model, and its base by --base",
        )
    linear = tuple(pair for pair in changed if pair.linear)
    if not linear:
        raise MergeError(
            f"no linear layer changed, only {few([p.name for p in changed])}",
            where="\n".join(str(model.folder) for model in models),
            hint="there is no low-rank update to extract; use the model as it is",
        )
    others = [pair for pair in changed if not pair.linear]
    if not beside:
        _check_room(others, {pair.module for pair in linear})
    extras = [
        PassedOn(layout.written(pair.name, target), pair.tuned.spec, pair.stored)
        for pair in [*others, *_tied_head(others, models)]
    ]
    return ModelChanges(linear, tuple(extras))


def _tied_head(others: Sequence[WeightPair], models: Sequence[Base]) -> list[WeightPair]:
    """Return the output head, where it is the embeddings that were trained.

    A parameter of an adapter replaces one of the two alone, so that it is written for each.
    """
    if any(model.tensors.get("lm_head.weight") for model in models):
        return []
    tied = models[0].weight("lm_head")
    return [
        WeightPair("lm_head.weight", pair.tuned, pair.base)
        for pair in others
        if tied is not None and pair.tuned.name == tied.name
    ]


def _check_room(others: Sequence[WeightPair], adapted: set[str]) -> None:
    """Check that a PEFT adapter can hold these parameters next to its updates.

    Raises:
        MergeError: a parameter of no module, or of a module that has an update.
    """
    for pair in others:
        if pair.module in _BARE or pair.module in adapted:
            why = "is a bare parameter" if pair.module in _BARE else "is of a module with an update"
            raise MergeError(
                f"{pair.name} changed, too, and {why}: no PEFT adapter can hold it",
                where=str(pair.tuned),
                hint="--extras-in beside writes such tensors to a file of their own",
            )


def _cut(
    pair: WeightPair, *, rule: RankRule, target: str, folder: Path
) -> tuple[ModuleEnergy, StagedUpdate | None]:
    """Decompose one module's change and put the directions that are kept aside."""
    delta, size = pair.difference()
    decomposed, rank = decompose(delta, rule)
    factors, kept = decomposed.cut(rank)
    norm = decomposed.energy**0.5
    line = ModuleEnergy(
        pair.module, rank, kept if rank else 0.0, norm, norm / size if size else None
    )
    if rank == 0:
        return line, None
    written = layout.written(pair.module, target)
    file = folder / f"{pair.module}.safetensors"
    return line, StagedUpdate.put(factors, pair.module, written, file)


@contextmanager
def _hashes(models: Sequence[Base]) -> Iterator[list[Future[dict[str, str]]]]:
    """Hash the models' files while modules are computed."""

    def hashed(model: Base) -> dict[str, str]:
        paths = sorted({ref.file.path for ref in model.tensors.values()})
        return {path.name: sha256(path) for path in paths}

    pool = ThreadPoolExecutor(1)
    try:
        yield [pool.submit(hashed, model) for model in models]
    finally:
        pool.shutdown(cancel_futures=True)
