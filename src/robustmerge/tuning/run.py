"""`tune`: from adapters and a measure to the best merge found, in a folder of its own.

    OUT/tune.json      what is searched and by what, and the report
    OUT/study.db       Optuna's storage, unless another is named
    OUT/recipe.yaml    the best recipe, for `robustmerge merge`
    OUT/merged/        its merge

A search that was stopped goes on where it was, if what is searched and by what are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import yaml

from .._version import __version__
from ..adapter.source import local_folder
from ..cluster import RayEngine
from ..engine.merge import merge_recipe
from ..engine.plan import make_plan
from ..engine.recipe import Recipe
from ..engine.runner import start_run
from ..errors import MergeError, within, writing
from ..files import alone_in, expand_user, is_leftover, read_json, sha256, write_json, write_whole
from ..scale_rules import scale_rules
from ..threads import silent
from .batches import WorkerStart, run_batches, score_here, score_on
from .measures import make_objective
from .objective import Objective, ObjectiveSetup
from .report import TuneReport, scores_of
from .scaled import MergeStore, trimmed
from .search import Search, SearchSettings, check_storage
from .space import SearchSpace, make_space

RECORD, RECIPE, MERGED, DATABASE = "tune.json", "recipe.yaml", "merged", "study.db"
FORMAT = 1
Ended = Callable[[TuneReport, int], None]
"""Called after every trial with the report so far and the trial's number."""


def tune_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    search: Sequence[str] = ("scale", "weights"),
    measure: str = "command",
    commands: Mapping[str, str] | None = None,
    settings: SearchSettings | None = None,
    server: str = "",
    held_out: float = 0.2,
    limit: int = 256,
    storage: str | None = None,
    device: str = "cpu",
    workers: int | None = None,
    engine: RayEngine | None = None,
    ended: Ended = lambda report, number: None,
) -> TuneReport:
    """Search the settings of a merge, and write the best.

    Args:
        recipe: The merge to begin with.
        output: Folder of the search; an earlier one of the same search goes on.
        search: What is moved: names of axes, such as scale or parameters:density.
        measure: What is maximized: an objective's name, with settings as in likelihood:longest=32.
        commands: For the measure `command`: commands that print a number, by task.
        settings: How the search is made.
        server: URL of a server that loads adapters at run time.
        held_out: Share of every file's samples that the search does not see.
        limit: Most samples used of each file.
        storage: An URL of Optuna; OUT/study.db unless given.
        device: Where models run and merges are computed.
        workers: Modules computed at the same time; on a cluster, as many as a job has cores.
        engine: Runs trials on a cluster, `settings.at_once` at a time.
        ended: Called after every trial.

    Raises:
        MergeError: anything the user can fix; trials that ended are kept
    """
    output, settings = expand_user(output), settings or SearchSettings()
    _check_settings(settings, engine)
    setup = ObjectiveSetup(recipe, {}, commands or {}, device, server, held_out, limit)
    objective = make_objective(measure, setup)
    space = _make_space(recipe, search, device, workers)
    facts = {
        "robustmerge": __version__,
        **_facts(recipe, search, objective),
        "pooling": settings.pooling,
        "minimize": settings.minimize,
    }
    if storage is not None:
        check_storage(storage)
    url = storage or f"sqlite:///{(output / DATABASE).resolve()}"
    begin = perf_counter()
    with (
        _opened_folder(output, facts, shared=storage is not None),
        closing(MergeStore(output, device=device, workers=workers)) as store,
    ):
        work = Search(space, objective, store, settings, url, alone=storage is None)

        def report() -> TuneReport:
            return TuneReport.of(output, work, facts, store.spent, perf_counter() - begin)

        work.ended = lambda study, trial: ended(report(), trial.number)
        try:
            _run(work, engine, WorkerStart(measure, setup, output, workers))
        finally:
            write_json(output / RECORD, {"format": FORMAT, **report().record()})
        _write_best(work, output, device, workers)
        held_out_scores = _held_out(work, output / MERGED)
        final = report().with_held_out(*held_out_scores)
        write_json(output / RECORD, {"format": FORMAT, **final.record()})
        return final


def _check_settings(settings: SearchSettings, engine: RayEngine | None) -> None:
    if settings.trials < 1:
        raise MergeError(f"{settings.trials} trials", where="--trials", hint="--trials 50")
    if settings.at_once < 1 or (engine is not None and settings.at_once == 1):
        raise MergeError(
            f"{settings.at_once} trials at once" + (" need no cluster" if engine else ""),
            where="--at-once",
            hint="--at-once 8 draws eight trials together",
        )


def _run(work: Search, engine: RayEngine | None, start: WorkerStart) -> None:
    """Run the trials one by one, or several at once, here or on a cluster."""
    if work.settings.at_once == 1:
        work.run()
    elif engine is None:
        run_batches(work, score_here(work))
    else:
        with (
            TemporaryDirectory(dir=start.home, prefix=".merges-") as home,
            engine.connected(),
        ):
            cores = start.workers or engine.needs.cpus
            start = replace(start, home=Path(home).resolve(), workers=cores)
            run_batches(work, score_on(engine, start, work.store.spent))


def _make_space(
    recipe: Recipe, search: Sequence[str], device: str, workers: int | None
) -> SearchSpace:
    """Plan the merge once, which refuses what cannot be merged, and make the space."""
    plan = make_plan(trimmed(recipe))
    modules = [job.name for job in plan.jobs]
    plan.close()
    return make_space(recipe, search, modules, lambda each: _scales(each, device, workers))


def _scales(recipe: Recipe, device: str, workers: int | None) -> list[float]:
    """Return the scales to begin with: the recipe's own, or that of its rule, and the rules'.

    A method that runs the base model fits its own sizes: 1 alone.
    """
    recipe = trimmed(recipe)
    plan = make_plan(replace(recipe, scale_over="model"))
    try:
        if plan.method.run:
            return [1.0]
        run = start_run(recipe, plan, device=device, workers=workers)
        run.survey(silent)
        sizes = run.sizes(silent)
    finally:
        plan.close()
    own = recipe.scale if not isinstance(recipe.scale, str) else sizes.factor(recipe.scale)
    return [own, 1.0, *(sizes.factor(r.name) for r in scale_rules() if not r.of_inputs)]


def _facts(recipe: Recipe, search: Sequence[str], objective: Objective) -> dict[str, Any]:
    """Return what decides a search, apart from how many trials there are."""
    plan = make_plan(trimmed(recipe))
    try:
        hashes = [[sha256(file.path) for file in adapter.files] for adapter in plan.adapters]
    finally:
        plan.close()
    return {
        "recipe": _located(recipe).to_dict(),
        "adapters": hashes,
        "search": list(search),
        "objective": dict(objective.facts),
    }


@contextmanager
def _opened_folder(output: Path, facts: Mapping[str, Any], *, shared: bool) -> Iterator[None]:
    """Make the folder of a search, or check that the one that is there is of the same search.

    Raises:
        MergeError: something else is there, or a search of other things; or another run
            searches there, unless they share a storage.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    with nullcontext() if shared else alone_in(output):
        _check_folder(output, facts)
        yield


def _check_folder(output: Path, facts: Mapping[str, Any]) -> None:
    path = output / RECORD
    with writing(output):
        if all(map(is_leftover, output.iterdir())):
            write_json(path, {"format": FORMAT, "facts": facts})
            return
    if not path.is_file():
        raise MergeError(
            "the output exists and is no search",
            where=str(output),
            hint="choose another folder; a search goes on in the folder that it made",
        )
    earlier = read_json(path).get("facts", {})
    changed = sorted(k for k in {*facts, *earlier} if facts.get(k) != earlier.get(k))
    if changed:
        raise MergeError(
            f"the folder has a search of something else: other {', '.join(changed)}",
            where=str(output),
            hint="choose another folder, or run the command that began this search",
        )


def _write_best(work: Search, output: Path, device: str, workers: int | None) -> None:
    """Write the best recipe and its merge, each whole or not at all."""
    recipe = _located(trimmed(work.recipe(work.study.best_trial)))
    text = yaml.safe_dump(
        {**recipe.to_dict(), "output": MERGED}, sort_keys=False, allow_unicode=True
    )
    with within("the best recipe"):
        merge_recipe(recipe, output / MERGED, device=device, workers=workers, force=True)
    note = "# The best recipe of a search; `robustmerge merge` takes it.\n"
    write_whole(output / RECIPE, note + text)


def _held_out(work: Search, merged: Path) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Score the best merge and the starting one, both as written, on what no trial has seen."""
    if "held-out" not in work.objective.splits:
        return {}, {}
    before = scores_of(work.objective, work.store.as_written(work.space.starts[0]))
    return scores_of(work.objective, merged), before


def _located(recipe: Recipe) -> Recipe:
    """Return the recipe with whole paths, so that its file may be anywhere."""

    def whole(source: str) -> str:
        return source if local_folder(source) is None else str(expand_user(source).absolute())

    def of_file(name: str) -> str:
        path = expand_user(name)
        return str(path.absolute()) if path.exists() else name

    return replace(
        recipe,
        adapters=tuple(map(whole, recipe.adapters)),
        base=recipe.base and of_file(recipe.base),
        data=recipe.data and of_file(recipe.data),
        samples=tuple(map(of_file, recipe.samples)),
        plugins=tuple(map(of_file, recipe.plugins)),
    )
