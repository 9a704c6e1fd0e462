"""The whole of it: plan, run, write. This is what the command and `robustmerge.merge` call."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..adapter import layout
from ..adapter.config import ADAPTER, FILE
from ..adapter.keys import full_name
from ..adapter.reader import BESIDE
from ..adapter.settings import plain_lora
from ..adapter.tensors import TensorSpec
from ..adapter.writer import SafetensorsWriter, round_to_dtype
from ..errors import MergeError
from ..files import check_space, check_target, expand_user, sha256, whole_folder, write_json
from ..threads import Progress, silent
from .card import model_card
from .extras import merge_extra
from .job import factor_names
from .plan import MergePlan, make_plan
from .recipe import Recipe
from .report import MergeReport, ModuleReport
from .run import MergedModule, MergeRun

WEIGHTS = "adapter_model.safetensors"
RECORD = "merge.json"


def merge_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> MergeReport:
    """Merge adapters into one adapter folder.

    Args:
        recipe: What to merge, and how.
        output: The folder to write; it appears whole or not at all.
        device: Where to compute.
        workers: Modules computed side by side; all cores where not given.
        force: Replace an adapter that is already there.
        progress: Called after every module.

    Raises:
        MergeError: Something the user can mend; nothing was written.
    """
    started = perf_counter()
    output = expand_user(output)
    plan = make_plan(recipe)
    try:
        data = [plan.data.statistics.folder] if plan.data else []
        check_target(
            output, [*(a.folder for a in plan.adapters), *data], force=force, holds=ADAPTER
        )
        run = MergeRun(plan, device=device, workers=workers)
        with whole_folder(output, force=force) as folder, _hashes(plan) as hashes:
            run.survey(progress)
            rank = run.rank(progress)
            specs = plan.lora_specs(rank) | plan.extra_specs()
            check_space(folder, sum(spec.nbytes for spec in specs.values()))
            modules = _write_tensors(run, rank, folder, progress)
            _write_settings(plan, rank, folder)
            inputs = [future.result() for future in hashes]
            report = MergeReport.of(plan, rank, modules, inputs, _outputs(folder))
            write_json(folder / RECORD, report.record())
            card = model_card(report).encode(errors="backslashreplace")
            (folder / "README.md").write_bytes(card)
    finally:
        plan.close()
    return report.finished(output, perf_counter() - started)


def _write_tensors(
    run: MergeRun, rank: int, folder: Path, progress: Progress
) -> list[ModuleReport]:
    """Stream every tensor into its file; the factors themselves are not kept."""
    plan = run.plan
    inside = plan.recipe.extras_in == "adapter" and plan.layout != layout.LLAVA
    extras = plan.extra_specs()
    reports = []
    with _writer(folder / WEIGHTS, plan.lora_specs(rank) | (extras if inside else {})) as writer:
        for merged in run.modules(rank, progress):
            a, b = factor_names(merged.job)
            with _naming(merged):
                writer.write(a, merged.factors.A)
                writer.write(b, merged.factors.B)
            reports.append(ModuleReport.of(merged))
        if inside:
            for extra in plan.extras:
                writer.write(
                    full_name(extra.written),
                    merge_extra(extra, plan.recipe, plan.adapters, plan.base),
                )
    if plan.extras and plan.recipe.extras_in == "beside":
        _write_beside(plan, folder)
    elif plan.layout == layout.LLAVA:
        _write_original(plan, folder)
    return reports


def _write_beside(plan: MergePlan, folder: Path) -> None:
    """Fully trained parameters in a file of their own, under the base model's names."""
    with _writer(folder / BESIDE, {e.written: e.spec for e in plan.extras}) as writer:
        for extra in plan.extras:
            writer.write(extra.written, merge_extra(extra, plan.recipe, plan.adapters, plan.base))


def _write_original(plan: MergePlan, folder: Path) -> None:
    """The files that the original LLaVA code loads."""
    merged = {
        full_name(e.written): round_to_dtype(
            merge_extra(e, plan.recipe, plan.adapters, plan.base), e.spec.dtype, e.name
        )
        for e in plan.extras
    }
    _save(merged, folder / "non_lora_trainables.bin")
    _save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    for adapter in plan.adapters:
        if (adapter.folder / "config.json").is_file():
            shutil.copyfile(adapter.folder / "config.json", folder / "config.json")
            return


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Save as torch does; a full disk, to torch an error of its own, is the system's again."""
    try:
        torch.save(tensors, path)
    except RuntimeError as error:
        raise OSError(errno.EIO, f"torch failed to write {path.name}") from error


def _write_settings(plan: MergePlan, rank: int, folder: Path) -> None:
    first = plan.adapters[0]
    modules = [
        next(a.modules[job.name] for a in plan.adapters if job.name in a.modules)
        for job in plan.jobs
    ]
    inside = plan.recipe.extras_in == "adapter" and plan.layout != layout.LLAVA
    settings = plain_lora(
        first,
        modules,
        [job.written for job in plan.jobs],
        rank,
        plan.recipe.base or first.config.base,
        [extra.written for extra in plan.extras] if inside else [],
    )
    write_json(folder / FILE, settings)


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
            pool.submit(hashed, [adapter.config.path, *(file.path for file in adapter.files)])
            for adapter in plan.adapters
        ]
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _writer(path: Path, specs: dict[str, TensorSpec]) -> Iterator[SafetensorsWriter]:
    writer = SafetensorsWriter(path, specs)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()


@contextmanager
def _naming(merged: MergedModule) -> Iterator[None]:
    """Errors about a merged tensor name the module by the name the user knows."""
    try:
        yield
    except MergeError as error:
        raise MergeError(error.problem, where=merged.job.name, hint=error.hint) from None
