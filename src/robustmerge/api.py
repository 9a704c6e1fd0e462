"""The functions of the package itself: `merge`, `resize`, `relay`, `tune`, `diagnose`, `load`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .adapter.reader import Adapter
from .cluster import RayEngine
from .diagnosis.run import run_diagnosis
from .diagnosis.tables import Diagnosis
from .engine.merge import merge_recipe
from .engine.options import (
    DEFAULT_METHOD,
    Dora,
    DType,
    ExtrasIn,
    ExtrasPolicy,
    Layout,
    Missing,
    ScaleOver,
)
from .engine.recipe import Recipe
from .engine.report import MergeReport
from .engine.resize import resize_adapter
from .engine.values import read_names, read_paths, read_steps
from .errors import MergeError, within
from .threads import Progress, silent

if TYPE_CHECKING:  # it imports optuna
    from .tuning.report import TuneReport


def merge(
    adapters: Sequence[str | Path],
    output: str | Path,
    *,
    method: str = DEFAULT_METHOD,
    weights: Sequence[float] | None = None,
    scale: float | str = 1.0,
    scale_over: ScaleOver = "model",
    balance: str | Sequence[str] = (),
    calibrate: str | Sequence[str] = (),
    rank: int | str = "input",
    dtype: DType | None = None,
    device: str = "cpu",
    workers: int | None = None,
    seed: int = 0,
    base: str | Path | None = None,
    same_base: bool = False,
    missing: Missing = "refuse",
    leave_out: str | Sequence[str] = (),
    accept_settings: str | Sequence[str] = (),
    layout: Layout | None = None,
    extras: ExtrasPolicy = "mean",
    extras_in: ExtrasIn = "adapter",
    dora: Dora = "refuse",
    plugins: Sequence[str | Path] = (),
    data: str | Path | None = None,
    samples: Sequence[str | Path] = (),
    work: str | Path | None = None,
    polish: int | str | None = None,
    force: bool = False,
    progress: Progress = silent,
    **parameters: Any,
) -> MergeReport:
    """Merge adapters into one adapter folder.

    The base model is not loaded, and memory holds a few modules at a time. The folder that comes
    out is a plain LoRA adapter (alpha = rank, scalings folded in) with a record of the merge.

    Examples:
        >>> import robustmerge
        >>> report = robustmerge.merge(["vqa", "ocr"], "both", method="task-arithmetic", rank=8)
        >>> report.rank
        8
        >>> sorted(file.name for file in report.output.iterdir())
        ['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'merge.json']

    Args:
        adapters: Adapter folders, or Hub ids owner/name[@revision][:subfolder].
        output: The folder to write; it appears whole or not at all.
        method: Merge method; `robustmerge.methods.every()` lists them. `robustmerge` is the
            paper's; `drift`, the default, has no scale to choose.
        weights: One coefficient per adapter; 1 each where not given.
        scale: One factor on every merged update, or the rule that determines it: mean,
            norm-matched, geometric-middle, kept or metric.
        scale_over: Whether a rule determines one factor for the model, or one for every module.
        balance: Steps before the merge, such as "norms" or "norms:exponent=1"; `steps.every()`
            lists them.
        calibrate: Steps after the merge, such as "svc".
        rank: input (the largest of the inputs), full (sum of ranks), a number, or energy:0.99.
        dtype: float32, float16 or bfloat16; that of the inputs where not given.
        device: Where to compute: cpu or cuda.
        workers: Modules computed at the same time; all cores where not given.
        seed: For random methods.
        base: The base model, a folder or Hub id: named in the result, and read for fully trained
            parameters.
        same_base: The adapters' different base names mean the same model.
        missing: Modules that are missing in some adapters: refuse, count as zero, or drop.
        leave_out: Modules and fully trained parameters to leave out, as shell patterns of their
            names such as "*vision_tower*"; the report's warnings say what that loses.
        accept_settings: Unknown settings that change nothing the adapters compute.
        layout: How modules are named in the output: hf, hf-old, flat or llava; as in the first
            adapter where not given.
        extras: Fully trained parameters: mean, or sum of changes to the base.
        extras_in: Write those into the adapter, or to a file next to it.
        dora: DoRA adapters: refuse, or merge their updates and average their magnitudes.
        plugins: Python files or modules that register methods of your own.
        data: Folder that `robustmerge collect` wrote, for methods that need statistics.
        samples: One file of JSON lines per adapter, for methods that run the base model.
        work: Folder for unfinished work of such a method, from which the same call goes on.
        polish: Gradient steps after it, such as 300 or "300:rate=2e-4", on base and samples.
        force: Replace a merge that is already there.
        progress: Called with the modules done and the modules in all.
        **parameters: Parameters of the method, such as density=0.3.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    with within("robustmerge.merge"):
        recipe = Recipe(
            read_paths("adapters", adapters if isinstance(adapters, str) else list(adapters)),
            parameters,
            method=method,
            weights=None if weights is None else tuple(weights),
            scale=scale,
            scale_over=scale_over,
            balance=read_steps("balance", balance),
            calibrate=read_steps("calibrate", calibrate),
            rank=rank,
            dtype=dtype,
            seed=seed,
            missing=missing,
            base=None if base is None else str(base),
            same_base=same_base,
            leave_out=read_names("leave_out", leave_out),
            accept_settings=read_names("accept_settings", accept_settings),
            layout=layout,
            extras=extras,
            extras_in=extras_in,
            dora=dora,
            plugins=read_paths("plugins", plugins if isinstance(plugins, str) else list(plugins)),
            data=None if data is None else str(data),
            samples=read_paths("samples", samples if isinstance(samples, str) else list(samples)),
            polish=polish,
        )
    return merge_recipe(
        recipe, output, device=device, workers=workers, work=work, force=force, progress=progress
    )


def relay(
    adapters: Sequence[str | Path],
    output: str | Path,
    base: str | Path,
    samples: Sequence[str | Path],
    *,
    rank: int | str = "input",
    **options: Any,
) -> MergeReport:
    """Merge adapters by RELAY: one walk through the base model with a few prompts of every task.

    It is `merge` with method="relay", whose page has all parameters. The report's `facts` have, for
    every adapter, how far it diverges from the base on its prompts and how much of that is left.

    Args:
        adapters: Adapter folders, or Hub ids owner/name[@revision][:subfolder].
        output: The folder to write; it appears whole or not at all.
        base: The base model, a folder or Hub id.
        samples: One file of JSON lines per adapter; answers are not needed.
        rank: input (the largest of the inputs), full (sum of ranks), or a number.
        **options: Options of `merge`, and parameters of the method such as prompts=32.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    return merge(adapters, output, method="relay", base=base, samples=samples, rank=rank, **options)


def tune(
    adapters: Sequence[str | Path],
    output: str | Path,
    *,
    score: str | Sequence[str] = (),
    measure: str = "command",
    search: Sequence[str] = ("scale", "weights"),
    objective: Literal["mean", "worst"] = "mean",
    minimize: bool = False,
    trials: int = 50,
    timeout: float | None = None,
    seed: int = 0,
    held_out: float = 0.2,
    server: str = "",
    storage: str | None = None,
    device: str = "cpu",
    workers: int | None = None,
    at_once: int = 1,
    engine: RayEngine | None = None,
    **options: Any,
) -> TuneReport:
    """Search the settings of a merge by a measure of your own, and write the best.

    It begins at the closed-form values. The folder has tune.json, the best recipe.yaml, and its
    merge in `merged`; the same call goes on with a search that was stopped.

    Args:
        adapters: Adapter folders, or Hub ids owner/name[@revision][:subfolder].
        output: Folder of the search.
        score: Commands that print a number, with {adapter} for the merge's folder.
        measure: What is maximized: command, likelihood, agreement, or one of robustmerge-bench.
        search: What is moved: scale, weights, method:a,b, parameters:density, projections.
        objective: mean or worst of several tasks.
        minimize: Smaller scores are better.
        trials: How many in all.
        timeout: Seconds after which no new trial begins.
        seed: Of the search and of random methods.
        held_out: Share of every file of samples that no trial sees.
        server: URL of a server that loads adapters at run time.
        storage: An URL of Optuna; a file in the folder where not given.
        device: Where to compute: cpu or cuda.
        workers: Modules computed at the same time; all cores where not given.
        at_once: Trials that are drawn together.
        engine: Scores them side by side on a cluster: `robustmerge.cluster.RayEngine`.
        **options: What a recipe has: method, scale, base, samples, rank, parameters, …

    Raises:
        MergeError: anything the user can fix; trials that ended are kept
    """
    try:
        from .tuning.command import read_commands
        from .tuning.run import tune_recipe
        from .tuning.search import SearchSettings
    except ModuleNotFoundError as error:
        raise MergeError(
            f"tuning needs {error.name}",
            where="robustmerge.tune",
            hint="pip install 'robustmerge[tune]'",
        ) from None

    names = read_paths("adapters", adapters if isinstance(adapters, str) else list(adapters))
    content = {"adapters": list(names), "seed": seed, **options}
    return tune_recipe(
        Recipe.from_dict(content, where="robustmerge.tune"),
        output,
        search=search,
        measure=measure,
        commands=read_commands([score] if isinstance(score, str) else score),
        settings=SearchSettings(
            trials=trials,
            timeout=timeout,
            seed=seed,
            pooling=objective,
            minimize=minimize,
            at_once=at_once,
        ),
        engine=engine,
        held_out=held_out,
        server=server,
        storage=storage,
        device=device,
        workers=workers,
    )


def resize(
    adapter: str | Path,
    output: str | Path,
    *,
    rank: int | str,
    dtype: DType | None = None,
    device: str = "cpu",
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> MergeReport:
    """Write an adapter at a smaller rank, such as a server's limit.

    Every module's update is cut to its best approximation of that rank, exactly and without forming
    it. The folder has merge.json, with the share of energy that each module keeps.

    Examples:
        >>> import robustmerge
        >>> report = robustmerge.resize("vqa", "small", rank=2)
        >>> report.rank
        2
        >>> mean, least = report.energy
        >>> 0 < least <= mean < 1
        True

    Args:
        adapter: An adapter folder, or a Hub id owner/name[@revision][:subfolder].
        output: The folder to write; it appears whole or not at all.
        rank: The most that the result's rank may be, or energy:0.99, the smallest rank that keeps
            this share of every module's update.
        dtype: float32, float16 or bfloat16; that of the adapter where not given.
        device: Where to compute: cpu or cuda.
        workers: Modules computed at the same time; all cores where not given.
        force: Replace an adapter that is already there.
        progress: Called with the modules done and the modules in all.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    with within("robustmerge.resize"):
        return resize_adapter(
            adapter,
            output,
            rank=rank,
            dtype=dtype,
            device=device,
            workers=workers,
            force=force,
            progress=progress,
        )


def diagnose(
    adapters: Sequence[str | Path],
    merged: Sequence[str | Path] = (),
    base: str | Path | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> Diagnosis:
    """Diagnose whether adapters can be merged, and what merges keep of them.

    Neither the base model nor an update is formed, and memory holds a few modules at a time.

    Examples:
        >>> import robustmerge
        >>> found = robustmerge.diagnose(["vqa", "ocr"])
        >>> pair = found.pooled("pairs")[0]
        >>> round(pair["cosine"].mean, 1)
        0.0

    Args:
        adapters: Adapter folders, or Hub ids owner/name[@revision][:subfolder].
        merged: Merges of them, likewise.
        base: The base model, to whose weights the updates are compared in size.
        workers: Modules examined at the same time; all cores where not given.
        progress: Called with the modules done and the modules in all.

    Raises:
        MergeError: an adapter that cannot be read, or adapters of different models; or scipy, which
            the diagnosis of merges needs, is not installed
    """
    if isinstance(adapters, str) or isinstance(merged, str):
        where, hint = "robustmerge.diagnose", 'diagnose(["a", "b"], ["merged"])'
        raise MergeError("a single name where a list is needed", where=where, hint=hint)
    sources, merges = [str(a) for a in adapters], [str(m) for m in merged]
    model = None if base is None else str(base)
    return run_diagnosis(sources, merges, model, workers=workers, progress=progress)


def load(source: str | Path) -> Adapter:
    """Open an adapter: settings and headers are read, tensors when asked for.

    Examples:
        >>> import robustmerge
        >>> adapter = robustmerge.load("vqa")
        >>> name = next(iter(adapter.modules))
        >>> adapter.modules[name].scaling
        2.0
        >>> adapter.factors(name).dense().shape == adapter.modules[name].shape  # scaling included
        True
        >>> adapter.close()

    Args:
        source: An adapter folder, or a Hub id owner/name[@revision][:subfolder].

    Raises:
        MergeError: anything that is not a complete, plain LoRA adapter
    """
    return Adapter(source)
