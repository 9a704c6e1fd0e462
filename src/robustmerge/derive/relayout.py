"""Fused experts as one module per expert, and back: the same updates under other names.

Memory: the factors of one parameter of all experts, such as 128 · 16 · (2048 + 1536) values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from ..adapter import layout
from ..adapter.config import FILE
from ..adapter.keys import Part, lora_name
from ..adapter.reader import Adapter
from ..adapter.settings import lora_settings
from ..adapter.tensors import TensorSpec
from ..adapter.writer import opened_writer
from ..errors import MergeError, few, unknown
from ..files import check_space, expand_user, sha256, write_json
from ..linalg import norm
from ..outputs import check_target, whole_folder
from ..threads import Progress, silent
from .experts import FusedAdapter, fuse, fused_names, fused_settings, group_experts
from .folder import WEIGHTS, StagedUpdate, staging, write_adapter
from .report import CONVERSION, DerivedReport, ModuleEnergy

Lines = list[ModuleEnergy]


def change_layout(
    source: str | Path,
    output: str | Path,
    *,
    target: str,
    dtype: str,
    force: bool = False,
    progress: Progress = silent,
) -> DerivedReport:
    """Write an adapter of a mixture of experts in another layout.

    Args:
        source: Adapter folder or Hub id.
        output: The folder to write.
        target: A name in LAYOUTS.
        dtype: Safetensors name of the result's type.
        force: Replace a conversion that is already there.
        progress: Called after every module.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    if target not in LAYOUTS:
        raise unknown("layout of experts", target, LAYOUTS)
    return LAYOUTS[target](str(source), expand_user(output), dtype, force, progress)


def _split(source: str, output: Path, dtype: str, force: bool, progress: Progress) -> DerivedReport:
    """Write one module per expert."""
    with ExitStack() as stack:
        adapter = FusedAdapter.open(source)
        stack.callback(adapter.opened.close)
        check_target(output, CONVERSION, [adapter.opened.folder], force=force)
        folder = stack.enter_context(
            whole_folder(output, CONVERSION, [adapter.opened.folder], force=force)
        )
        inside = stack.enter_context(staging(folder))
        total = len(adapter.others) + sum(parameter.experts for parameter in adapter.fused)
        lines, updates = Lines(), []
        for number, (name, update) in enumerate(adapter.updates(), 1):
            lines.append(_line(name, update.rank, norm(update)))
            file = inside / f"{number}.safetensors"
            updates.append(StagedUpdate.put(update, lines[-1].name, name, file))
            progress(number, total)
        raw, base = adapter.config.raw, adapter.config.base
        written = write_adapter(folder, updates, (), raw=raw, base=base, dtype=dtype)
        adapter.opened.pass_on(folder)
        paths, others = adapter.opened.paths, tuple(adapter.opened.other_specs)
        report = _report(source, base, output, dtype, written.rank, lines, paths)
        return replace(report, extras=others, notes=written.remarks).written(folder)


def _fuse(source: str, output: Path, dtype: str, force: bool, progress: Progress) -> DerivedReport:
    """Write the factors of all experts in one matrix each."""
    with ExitStack() as stack:
        adapter = Adapter(source)
        stack.callback(adapter.close)
        if adapter.extras:
            raise MergeError(
                f"fully trained parameters next to fused experts: {few(list(adapter.extras))}",
                where=str(adapter.paths.weights[0]),
                hint="merge with --extras-in beside first, and keep that file apart",
            )
        check_target(output, CONVERSION, [adapter.folder], force=force)
        names = {module.written: name for name, module in adapter.modules.items()}
        groups = group_experts(list(names), str(adapter.paths.weights[0]))
        folder = stack.enter_context(
            whole_folder(output, CONVERSION, [adapter.folder], force=force)
        )
        size = max(module.rank for module in adapter.modules.values())
        lines = _write_fused(folder, adapter, groups, names, size, dtype, progress)
        paths = [adapter.config.path, *adapter.paths.weights]
        base = adapter.config.base
        return _report(source, base, output, dtype, size, lines, paths).written(folder)


def _write_fused(
    folder: Path,
    adapter: Adapter,
    groups: Mapping[tuple[str, str], Sequence[str]],
    names: Mapping[str, str],
    rank: int,
    dtype: str,
    progress: Progress,
) -> Lines:
    """Write weights and settings; return a line for every update."""
    single = {name for group in groups.values() for name in group}
    plain = [written for written in names if written not in single]
    modules = [module for module, _ in groups]
    units: dict[tuple[str, str], Sequence[str]] = {
        fused_names(module, parameter, both=modules.count(module) == 2): group
        for (module, parameter), group in groups.items()
    }
    units |= {(lora_name(n, Part.A), lora_name(n, Part.B)): [n] for n in plain}
    specs = {}
    for (a, b), group in units.items():
        d_out, d_in = adapter.modules[names[group[0]]].shape
        specs[a] = TensorSpec(dtype, (len(group) * rank, d_in))
        specs[b] = TensorSpec(dtype, (d_out, rank * len(group)))
    check_space(folder, sum(spec.nbytes for spec in specs.values()))
    lines = Lines()
    with opened_writer(folder / WEIGHTS, specs) as writer:
        for done, ((a, b), group) in enumerate(units.items(), 1):
            updates = [adapter.factors(names[written]) for written in group]
            lines += [_line(n, u.rank, norm(u)) for n, u in zip(group, updates, strict=True)]
            A, B = fuse([update.pad(rank) for update in updates])
            writer.write(a, A)
            writer.write(b, B)
            progress(done, len(units))
    canonical, base = [layout.canonical(name) for name in plain], adapter.config.base
    settings = lora_settings(adapter.config.raw, canonical, plain, rank, base, ())
    write_json(folder / FILE, fused_settings(settings, groups))
    return lines


def _line(name: str, rank: int, size: float) -> ModuleEnergy:
    return ModuleEnergy(layout.canonical(name), rank, 1.0, size)


def _report(
    source: str,
    base: str,
    output: Path,
    dtype: str,
    rank: int,
    lines: Lines,
    paths: Sequence[Path],
) -> DerivedReport:
    return DerivedReport(
        kind=CONVERSION,
        source=source,
        base=base,
        rule="",
        rank=rank,
        dtype=dtype,
        layout=layout.detect(line.name for line in lines),
        modules=tuple(lines),
        extras=(),
        inputs={"adapter": {path.name: sha256(path) for path in paths}},
        output=output,
    )


LAYOUTS: Mapping[str, Callable[[str, Path, str, bool, Progress], DerivedReport]] = MappingProxyType(
    {"experts": _split, "fused": _fuse}
)
"""Layouts of experts: one module per expert, and PEFT's target_parameters."""
