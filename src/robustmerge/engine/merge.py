"""A merge from recipe to folder: plan, run, write. The command and `robustmerge.merge` call it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..adapter import layout
from ..adapter.config import FILE
from ..adapter.factor_writer import opened_factors
from ..adapter.keys import full_name
from ..adapter.precision import loses_in_float16, remark_losses
from ..adapter.settings import plain_lora
from ..adapter.tensor_files import BESIDE, NON_LORA
from ..adapter.writer import opened_writer, round_to_dtype, saving
from ..errors import enough_memory
from ..files import check_inside, check_space, expand_user, sha256, write_json
from ..outputs import ResultKind, check_target, whole_folder
from ..threads import Progress, silent
from .card import model_card
from .extras import Extra, ExtrasPlan
from .plan import MergePlan, make_plan
from .recipe import Recipe
from .report import MergeReport, ModuleReport
from .run import MergeRun
from .runner import polish_merge, start_run
from .tokens import united_rows

WEIGHTS = "adapter_model.safetensors"
CARD = "README.md"
RECORD = "merge.json"


def _listed_files(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the hashes of a merge's files; earlier records had none of the model card."""
    return {CARD: "", **record["output"]["sha256"]}


KIND = ResultKind("a merge", RECORD, _listed_files)


@enough_memory()
def merge_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    work: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> MergeReport:
    """Merge adapters into one adapter folder.

    Args:
        recipe: What to merge, and how.
        output: The folder to write; it appears whole or not at all.
        device: Where to compute.
        workers: Modules computed at the same time; all cores where not given.
        work: Folder in which a method that runs the base model keeps what it has finished, so
            that a merge that was stopped goes on from there.
        force: Replace a merge that is already there.
        progress: Called after every module.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    started = perf_counter()
    output = expand_user(output)
    plan = make_plan(recipe)
    try:
        inputs_read = [
            *plan.inputs(),
            *map(expand_user, (*recipe.samples, *([work] if work else []))),
        ]
        check_target(output, KIND, inputs_read, force=force)
        run = start_run(recipe, plan, device=device, workers=workers, work=work)
        with (
            whole_folder(output, KIND, inputs_read, force=force) as folder,
            _hashes(plan) as hashes,
        ):
            run.survey(progress)
            rank = run.rank(progress)
            specs = plan.lora_specs(rank) | plan.extras.specs()
            check_space(folder, sum(spec.nbytes for spec in specs.values()))
            losses: list[str] = []
            modules = _write_tensors(run, rank, folder, losses, progress)
            polished = polish_merge(
                recipe, plan, folder / WEIGHTS, rank=rank, device=device, progress=progress
            )
            _write_more(plan, folder, losses)
            write_json(folder / FILE, _settings(plan, rank))
            plan.tokens.write(folder)
            inputs = [future.result() for future in hashes]
            facts = run.facts()
            facts = replace(facts, warnings=(*facts.warnings, *remark_losses(losses)))
            report = MergeReport.of(recipe, plan, rank, modules, inputs, {}, facts, polished)
            card = model_card(report).encode(errors="backslashreplace")
            (folder / CARD).write_bytes(card)
            report = replace(report, files=_outputs(folder))
            write_json(folder / RECORD, report.record())
    finally:
        plan.close()
    return report.finished(output, perf_counter() - started)


def _write_tensors(
    run: MergeRun, rank: int, folder: Path, losses: list[str], progress: Progress
) -> list[ModuleReport]:
    """Stream every tensor into its file; the factors themselves are not kept."""
    plan, extras = run.plan, run.plan.extras
    specs = plan.lora_specs(rank) | (extras.specs() if extras.in_adapter else {})
    reports = []
    with opened_factors(folder / WEIGHTS, specs) as factors:
        for merged in run.modules(rank, progress):
            factors.write(merged.job.tensors, merged.factors)
            reports.append(ModuleReport.of(merged))
        for extra in extras.in_adapter:
            factors.writer.write(full_name(extra.written), _merge_extra(extras, extra, losses))
    return reports


def _write_more(plan: MergePlan, folder: Path, losses: list[str]) -> None:
    """Write the files next to the adapter's, some of which have its tensors, too."""
    if plan.extras.parameters and plan.extras.location == "beside":
        _write_beside(plan.extras, folder, losses)
    elif plan.layout == layout.LLAVA:
        _write_original(plan, folder, losses)


def _merge_extra(extras: ExtrasPlan, extra: Extra, losses: list[str]) -> Tensor:
    """Merge a fully trained parameter; add its name to the losses if its type loses much of it."""
    merged = extras.merge(extra)
    if extra.spec.dtype == "F16" and loses_in_float16(merged):
        losses.append(extra.name)
    return merged


def _write_beside(extras: ExtrasPlan, folder: Path, losses: list[str]) -> None:
    """Write fully trained parameters to a file of their own, under the base model's names."""
    with opened_writer(folder / BESIDE, {e.written: e.spec for e in extras.parameters}) as writer:
        for extra in extras.parameters:
            writer.write(extra.written, _merge_extra(extras, extra, losses))


def _write_original(plan: MergePlan, folder: Path, losses: list[str]) -> None:
    """Write the files that the original LLaVA code loads."""
    merged = {
        full_name(e.written): round_to_dtype(
            _merge_extra(plan.extras, e, losses), e.spec.dtype, e.name
        )
        for e in plan.extras.parameters
    }
    _save(merged, folder / NON_LORA)
    _save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    for adapter in plan.adapters:
        if (adapter.folder / "config.json").is_file():
            source = check_inside(adapter.folder / "config.json", adapter.folder)
            shutil.copyfile(source, folder / "config.json")
            return


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Save as torch does."""
    with saving(path):
        torch.save(tensors, path)


def _settings(plan: MergePlan, rank: int) -> dict[str, Any]:
    """Return the content of adapter_config.json."""
    modules = [
        next(a.modules[job.name] for a in plan.adapters if job.name in a.modules)
        for job in plan.jobs
    ]
    return plain_lora(
        plan.adapters[0],
        modules,
        [job.written for job in plan.jobs],
        rank,
        plan.base_name,
        [extra.written for extra in plan.extras.in_adapter],
        vision=plan.vision,
        rows=united_rows(plan.adapters),
    )


def _outputs(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in sorted(folder.iterdir())}


@contextmanager
def _hashes(plan: MergePlan) -> Iterator[list[Future[dict[str, str]]]]:
    """Hash the inputs while the modules are computed."""

    def hashed(files: Sequence[Path]) -> dict[str, str]:
        return {file.name: sha256(file) for file in files}

    pool = ThreadPoolExecutor(1)
    try:
        yield [
            pool.submit(hashed, [adapter.config.path, *adapter.paths.own, *adapter.paths.beside])
            for adapter in plan.adapters
        ]
    finally:
        pool.shutdown(cancel_futures=True)
