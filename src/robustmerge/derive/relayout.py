"""An adapter of a mixture of experts in another layout: the same updates under other names.

Memory: up to 32 MiB of every factor of fused experts, and the factors of one module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType

from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.base_experts import misfit_of_experts, storage_of
from ..adapter.config import FILE
from ..adapter.expert_families import GATES, ExpertStorage
from ..adapter.factor_writer import opened_factors
from ..adapter.keys import full_name
from ..adapter.precision import fit_float16
from ..adapter.promises import ROWS, is_rows
from ..adapter.reader import Adapter
from ..adapter.settings import lora_settings, saved_modules
from ..adapter.wrappers import unwrap
from ..errors import MergeError, unknown, within
from ..files import check_space, expand_user, sha256, write_json
from ..linalg import norm
from ..outputs import check_target, whole_folder
from ..threads import Progress, silent
from .experts import NamedUpdate, fuse, join, one_by_one, rename, separate, updates_of
from .folder import WEIGHTS, PassedOn
from .opened import copy_companions
from .report import CONVERSION, DerivedReport, ModuleEnergy
from .shared_outer import share_outer
from .source import read_stored

_KEPT = ("auto_mapping", "revision")


def change_layout(
    source: str | Path,
    output: str | Path,
    *,
    target: str,
    base: str | Path | None = None,
    dtype: str,
    force: bool = False,
    progress: Progress = silent,
) -> DerivedReport:
    """Write an adapter of a mixture of experts in another layout.

    Args:
        source: Adapter folder or Hub id.
        output: The folder to write.
        target: A name in LAYOUTS.
        base: The base model, of which headers alone are read; needed from or to projections.
        dtype: Safetensors name of the result's type.
        force: Replace a conversion that is already there.
        progress: Called after every module.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    if target not in LAYOUTS:
        raise unknown("layout of experts", target, LAYOUTS)
    output = expand_user(output)
    with ExitStack() as stack:
        adapter = Adapter(source)
        stack.callback(adapter.close)
        model = Base(str(base), headers_only=True) if base is not None else None
        if model is not None:
            stack.callback(model.close)
        inputs = [adapter.folder, *([model.folder] if model else [])]
        check_target(output, CONVERSION, inputs, force=force)
        updates = _renamed(adapter, target, model)
        folder = stack.enter_context(whole_folder(output, CONVERSION, inputs, force=force))
        named = adapter.config.base or (model.label if model else "")
        return _write(folder, adapter, updates, output, named, dtype, progress).written(folder)


def _renamed(adapter: Adapter, target: str, base: Base | None) -> list[NamedUpdate]:
    """Return the updates under the names of a layout, in the order of the file."""
    updates = updates_of(adapter)
    layers = {update.expert[2] for update in updates} - {""}
    if not layers:
        raise MergeError(
            "no module of a single expert, and no fused experts",
            where=str(adapter.paths.weights[0]),
            hint="merge the adapter as it is",
        )
    stacked = any(module.stacked for module in adapter.modules.values())
    single = stacked or bool(layers & (GATES | {"w2"}))
    source = "projections" if single else "experts"
    if any(update.wrapped and update.expert[0] for update in updates):
        source = "fused"
    if stacked:
        source = "sglang-shared"
    if source == target:
        raise MergeError(
            f"the experts are in the layout {target} already",
            where=str(adapter.paths.weights[0]),
            hint="merge the adapter as it is",
        )
    family = None
    if {source, target} & APART.keys():
        family = _family(adapter, base)
    where = str(adapter.paths.weights[0])
    if target in APART:
        assert family is not None
        own = rename(updates, family, family) if single else separate(updates, family)
        changed = APART[target](own, family, where)
    else:
        if single:
            assert family is not None
            updates = join(updates, family if family.down in layers else family.common)
        changed = TOGETHER[target](updates, where)
    return sorted(changed, key=lambda update: align.natural_key(update.written))


def _family(adapter: Adapter, base: Base | None) -> ExpertStorage:
    """Return how the base stores its experts.

    Raises:
        MergeError: no base, an unknown family, or a base that the adapter does not fit.
    """
    named = adapter.config.base
    if base is None:
        raise MergeError(
            "the file does not say which outputs of gate_up_proj are the gate's; the base does",
            where=str(adapter.paths.weights[0]),
            hint=f"--base {named or 'MODEL'}, of which headers alone are read",
        )
    storage = storage_of(base)
    fused = [m for m in adapter.modules.values() if m.wrapped and m.wrapped.expert == 0]
    if misfit := next(filter(None, (misfit_of_experts(base, m) for m in fused)), ""):
        raise MergeError(
            misfit,
            where=f"{adapter.paths.weights[0]}\n{base.folder}",
            hint="--base is the model that the adapter was trained on",
        )
    return storage


def _write(
    folder: Path,
    adapter: Adapter,
    updates: Sequence[NamedUpdate],
    output: Path,
    base: str,
    dtype: str,
    progress: Progress,
) -> DerivedReport:
    """Write weights and settings, and copy what is next to them."""
    rank, config = max(update.rank for update in updates), adapter.config
    extras = _extras(adapter)
    lines, remarks = _write_tensors(folder / WEIGHTS, updates, extras, rank, dtype, progress)
    names = [extra.written for extra in extras]
    settings = lora_settings(
        config.raw,
        [line.name for line in lines],
        [update.written for update in updates],
        rank,
        base,
        saved_modules(config.names("modules_to_save"), names),
        parameters=[update.wrapped for update in updates],
    )
    kept = [*_KEPT, *([ROWS] if any(map(is_rows, names)) else [])]
    write_json(folder / FILE, {**settings, **{k: config.raw[k] for k in kept if config.raw.get(k)}})
    others = [*adapter.paths.trained, *adapter.paths.beside]
    copy_companions(adapter.folder, others, (*adapter.modules, *adapter.extras), folder)
    paths = [config.path, *adapter.paths.weights, *others]
    return DerivedReport(
        kind=CONVERSION,
        source=adapter.label,
        base=base,
        rule="",
        rank=rank,
        dtype=dtype,
        layout=layout.detect(line.name for line in lines),
        modules=tuple(lines),
        extras=tuple(adapter.extras),
        inputs={"adapter": {path.name: sha256(path) for path in paths}},
        output=output,
        notes=tuple(dict.fromkeys(remarks)),
    )


def _write_tensors(
    path: Path,
    updates: Sequence[NamedUpdate],
    extras: Sequence[PassedOn],
    rank: int,
    dtype: str,
    progress: Progress,
) -> tuple[list[ModuleEnergy], list[str]]:
    """Write all tensors; return a line for every update, and remarks on what the type loses."""
    specs = {full_name(extra.written): extra.spec for extra in extras}
    for update in updates:
        specs |= update.tensors.specs(update.shape, rank, dtype)
    check_space(path.parent, sum(spec.nbytes for spec in specs.values()))
    lines, remarks = [], []
    with opened_factors(path, specs) as factors:
        for number, update in enumerate(updates, 1):
            exact = update.read()
            name = layout.canonical(update.written)
            lines.append(ModuleEnergy(name, exact.rank, 1.0, norm(exact)))
            written = exact.pad(rank)
            if dtype == "F16" and update.stacked is None:  # a side that is shared has one size
                with within(name):
                    written, remark = fit_float16(written)
                remarks += [remark] if remark else []
            factors.write(update.tensors, written)
            progress(number, len(updates))
        for extra in extras:
            factors.writer.write(full_name(extra.written), extra.read())
    return lines, remarks


def _extras(adapter: Adapter) -> list[PassedOn]:
    """Return the fully trained parameters of the adapter's own file."""
    refs = [*adapter.extras.values(), *adapter.bases.values()]
    return [
        PassedOn(unwrap(ref.name)[0], ref.spec, partial(read_stored, ref))
        for ref in refs
        if ref.file.path in adapter.paths.weights
    ]


def _to_experts(updates: Sequence[NamedUpdate], where: str) -> list[NamedUpdate]:
    return one_by_one(updates)


def _to_projections(
    updates: Sequence[NamedUpdate], family: ExpertStorage, where: str
) -> list[NamedUpdate]:
    return list(updates)


def _to_sglang(
    updates: Sequence[NamedUpdate], family: ExpertStorage, where: str
) -> list[NamedUpdate]:
    return rename(updates, family, family.common)


def _to_shared(
    updates: Sequence[NamedUpdate], family: ExpertStorage, where: str
) -> list[NamedUpdate]:
    return share_outer(_to_sglang(updates, family, where), where)


TOGETHER: Mapping[str, Callable[[Sequence[NamedUpdate], str], list[NamedUpdate]]] = (
    MappingProxyType({"experts": _to_experts, "fused": fuse})
)
"""Layouts with gate and up as one module; what each makes of updates of single experts."""

Change = Callable[[Sequence[NamedUpdate], ExpertStorage, str], list[NamedUpdate]]
APART: Mapping[str, Change] = MappingProxyType(
    {"projections": _to_projections, "sglang": _to_sglang, "sglang-shared": _to_shared}
)
"""Layouts with gate and up as two modules; what each makes of those of the family's names."""

LAYOUTS = (*TOGETHER, *APART)
"""Layouts of experts."""
