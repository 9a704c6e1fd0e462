"""Evaluate models: one base in memory, items made once, a score for every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import MappingProxyType
from typing import Any

import numpy as np

from robustmerge import MergeReport, merge
from robustmerge.threads import limit_threads

from ...item import Item
from ...jobs.run import FAILURES, JobEngine, JobProgress, Outcome, Worker, reason, run_jobs, silent
from ..world.splits import Split
from .contender import Contender
from .job import EvaluationJob
from .results import Result, is_done
from .sweep import SweepResult, sweep
from .world import World


def evaluate(
    jobs: Sequence[EvaluationJob],
    out: Path,
    world: World,
    *,
    workers: int = 1,
    engine: JobEngine | None = None,
    progress: Callable[[JobProgress], None] = silent,
) -> Outcome[EvaluationJob]:
    """Evaluate every model whose result is not in `out`; all share one base.

    They run in processes of this machine, or by an engine such as a cluster.
    """
    start = partial(_start, world, out, jobs[0].base if jobs else Path())
    done = partial(is_done, out=out)
    with limit_threads():
        return run_jobs(jobs, done, start, workers=workers, engine=engine, progress=progress)


def _start(world: World, out: Path, base: Path) -> Worker[EvaluationJob]:
    return partial(_evaluate, Examiner(world, base), out)


def _evaluate(examiner: Examiner, out: Path, job: EvaluationJob) -> Mapping[str, str]:
    """Evaluate a model and write the result; return why that failed."""
    try:
        result = examiner.examine(job)
    except FAILURES as error:
        return {"": reason(error)}
    result.write(out / job.file)
    return {}


class Examiner:
    """A base model and the tasks' items, for as many jobs as there are."""

    def __init__(self, world: World, base: Path) -> None:
        """Load the base."""
        self._tasks = world.tasks()
        self._model = world.model(base)
        self._device = world.device
        self._items: dict[tuple[str, Split, int], list[Item]] = {}

    def examine(self, job: EvaluationJob) -> Result:
        """Merge and choose the factor where the job says so, and answer the test items."""
        if job.merge is None:
            return self._test(job, job.adapters[0] if job.adapters else None)
        with TemporaryDirectory(prefix="robustmerge-bench-") as folder:
            output = Path(folder) / "merged"
            seconds = {}
            start = perf_counter()
            options = self._options(job, job.merge, Path(folder)) if job.unlabeled else {}
            if "data" in options:
                seconds["statistics"] = perf_counter() - start
            options["device"] = self._device
            report = merge_adapters(job.adapters, job.merge, output, **options)
            seconds["merge"] = report.seconds
            start = perf_counter()
            swept = self._sweep(job, output) if job.merge.scale == "sweep" else None
            if swept:
                seconds["sweep"] = perf_counter() - start
            return self._test(job, output, swept, seconds, report.warnings)

    def _test(
        self,
        job: EvaluationJob,
        adapter: Path | None,
        swept: SweepResult | None = None,
        seconds: Mapping[str, float] = MappingProxyType({}),
        notes: tuple[str, ...] = (),
    ) -> Result:
        start = perf_counter()
        factor = swept.best if swept else 1.0
        scores = self.scores(adapter, factor, job.tasks, "test", job.items)
        return Result(
            job.facts(),
            scores,
            factor,
            _record(swept) if swept else {},
            {**seconds, "answer": perf_counter() - start},
            notes,
        )

    def _options(self, job: EvaluationJob, merge: Contender, folder: Path) -> dict[str, Any]:
        """Return what a merge with validation items of its tasks needs, without their answers.

        That is statistics of the adapters, or base and samples for what runs the model.
        """
        from .unlabeled import collect_statistics, write_all_samples  # imports transformers

        experts = dict(zip(job.seen, job.adapters, strict=True))
        items = {task: self._load(task, "validation", job.unlabeled) for task in experts}
        options: dict[str, Any] = {}
        if merge.statistics:
            kinds = merge.statistics
            data = collect_statistics(job.base, experts, items, kinds, folder, self._device)
            options["data"] = data
        if merge.runs_model:
            samples = write_all_samples(items, experts, folder / "prompts")
            options |= {"base": job.base, "samples": samples}
        return options

    def _sweep(self, job: EvaluationJob, adapter: Path) -> SweepResult:
        """Choose the factor on validation items of the seen tasks."""

        def mean_score(factor: float) -> float:
            scores = self.scores(adapter, factor, job.seen, "validation", job.validation)
            return float(np.mean([of_task.mean() for of_task in scores.values()]))

        return sweep(mean_score)

    def scores(
        self, adapter: Path | None, factor: float, tasks: Iterable[str], split: Split, n: int
    ) -> dict[str, np.ndarray]:
        """Return the scores [n] of every task."""
        scores = {}
        with self._model.using(adapter, factor):
            for name in tasks:
                items = self._load(name, split, n)
                scores[name] = self._tasks[name].score(self._model.answer(items), items)
                assert scores[name].shape == (n,), f"{name}: {scores[name].shape} scores for {n}"
        return scores

    def _load(self, task: str, split: Split, n: int) -> list[Item]:
        key = (task, split, n)
        if key not in self._items:
            self._items[key] = self._tasks[task].items(split, n)
        return self._items[key]


def merge_adapters(
    adapters: Sequence[Path], contender: Contender, output: Path, **options: Any
) -> MergeReport:
    """Merge adapters by `robustmerge.merge` on one thread; `options` are further ones of it."""
    return merge(
        adapters,
        output,
        extras="mean",
        workers=1,
        **contender.options,
        **options,
        **dict(contender.settings),
    )


def _record(swept: SweepResult) -> dict[str, object]:
    tried = {f"{factor:.4g}": round(score, 3) for factor, score in swept.tried.items()}
    return {"tried": tried, "at_limit": swept.at_limit}
