"""Run a study: merge, answer, score, one model after the other, or side by side on a cluster.

Every result has a hash of its inputs in its name, so that a killed run continues where it was, and
a failure of one model does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from robustmerge.errors import MergeError, few

from ...jobs.run import (
    FAILURES,
    JobEngine,
    JobProgress,
    Outcome,
    Worker,
    reason,
    run_jobs,
    silent,
)
from ..answering.run import silent as no_progress
from ..score import Protocol
from ..tasks import PaperTask
from .folder import StudyFolder
from .models import StudyModel
from .plan import ModelWork, StudyPlan
from .record import ListedContender, StudyRecord

Report = Callable[[JobProgress], None]


def run(
    plan: StudyPlan, *, report: Report = silent, engine: JobEngine | None = None
) -> Outcome[StudyModel]:
    """Do what is not done, and keep the study's record.

    Args:
        plan: The study and its state.
        report: Called after every merge, set of answers, and set of scores; with an engine, after
            every model.
        engine: Runs the models' work elsewhere, such as on a cluster; it needs the same folders.
    """
    worker = _StudyWorker(plan, report, _failures_of_others(plan))
    worker.write_record()
    if engine is not None:
        return _run_elsewhere(worker, engine)
    return run_jobs(plan.chosen, lambda model: plan.work(model).done, lambda: worker)


def _run_elsewhere(keeper: _StudyWorker, engine: JobEngine) -> Outcome[StudyModel]:
    """Let an engine do the work, and keep the record here, where all failures arrive.

    Contenders that share a model are done one after the other, so that nothing is written twice.
    """
    plan = keeper.plan
    away = replace(plan, tools=replace(plan.tools, progress=no_progress))

    def ended(step: JobProgress) -> None:
        keeper.report(step)
        keeper.write_record()

    outcomes = [
        run_jobs(
            models,
            lambda model: plan.work(model).done,
            partial(_start_away, away),
            engine=engine,
            progress=ended,
        )
        for models in _rounds(plan.chosen)
    ]
    failures = tuple(failure for outcome in outcomes for failure in outcome.failures)
    for failure in failures:
        reasons = keeper.failures.setdefault(failure.job.contender.label, {})
        reasons[failure.part] = failure.reason
    keeper.write_record()
    return Outcome(sum(o.done for o in outcomes), sum(o.skipped for o in outcomes), failures)


def _rounds(models: Sequence[StudyModel]) -> list[list[StudyModel]]:
    """Return models in groups, none of which has a model twice."""
    rounds: list[list[StudyModel]] = []
    for model in models:
        free = (each for each in rounds if model.name not in {other.name for other in each})
        group = next(free, None)
        if group is None:
            rounds.append([model])
        else:
            group.append(model)
    return rounds


def _start_away(plan: StudyPlan) -> Worker[StudyModel]:
    """Return what does a model's work and writes no record."""
    return partial(_do_away, plan)


def _do_away(plan: StudyPlan, model: StudyModel) -> Mapping[str, str]:
    return _StudyWorker(plan, silent, {}).do(plan.work(model))


def _failures_of_others(plan: StudyPlan) -> dict[str, dict[str, str]]:
    """Return earlier failures of contenders that are not part of this run."""
    try:
        known = StudyRecord.read(plan.folder.out).failures
    except MergeError:  # there is no record, or a damaged one, which this run replaces
        return {}
    return {label: dict(why) for label, why in known.items() if label not in plan.labels}


@dataclass(frozen=True)
class _StudyWorker:
    """Merges, answers and scores, one model after the other."""

    plan: StudyPlan
    report: Report
    failures: dict[str, dict[str, str]]  # reasons by contender and task, as the record has them

    @property
    def folder(self) -> StudyFolder:
        return self.plan.folder

    def __call__(self, model: StudyModel) -> dict[str, str]:
        """Do what is left of a model's work; return reasons of failure by task."""
        work = self.plan.work(model)  # as it is now: another label may be the same model
        failures = self.do(work)
        if failures:
            self.failures.setdefault(model.contender.label, {}).update(failures)
        self.write_record()
        return failures

    def write_record(self) -> None:
        """Write study.json as things are now."""
        _record(self.plan, self.failures).write(self.folder.out)

    def do(self, work: ModelWork) -> dict[str, str]:
        """Merge, answer and score; return reasons of failure by task."""
        recipe = work.model.contender.recipe
        if work.merge and recipe is not None:
            merged = self.folder.merged(work.model)
            merge = partial(self.plan.tools.merge, recipe, merged)
            if why := self._try(work.model, "merged", merge):
                return {"": why}
        failures = self._answer(work.model, work.answer) if work.answer else {}
        return failures | self._score_all(work, failures)

    def _score_all(self, work: ModelWork, unanswered: Mapping[str, str]) -> dict[str, str]:
        """Score all new answers; report successes together and failures one by one."""
        start, scored, failures = perf_counter(), [], {}
        for task, protocol in work.score:
            # Answers that came out as before have a score.
            if task.name in unanswered or self.plan.is_scored(work.model, task, protocol):
                continue
            if why := self._score(work.model, task, protocol):
                failures[task.name] = why
            else:
                scored.append(task.name)
        if scored:
            what = "scored " + few(list(dict.fromkeys(scored)), 12)
            seconds = perf_counter() - start
            self.report(JobProgress(label=work.model.label, what=what, seconds=seconds))
        return failures

    def _answer(self, model: StudyModel, tasks: Sequence[PaperTask]) -> dict[str, str]:
        """Answer all tasks with one loading of the model; after a failure one by one."""
        why = self._try_answers(model, tasks)
        if not why or len(tasks) == 1:
            return {tasks[0].name: why} if why else {}
        reasons = {task.name: self._try_answers(model, [task]) for task in tasks}
        return {name: why for name, why in reasons.items() if why}

    def _try_answers(self, model: StudyModel, tasks: Sequence[PaperTask]) -> str:
        what = "answered " + few([task.name for task in tasks], 12)
        return self._try(model, what, partial(self._write_answers, model, tasks))

    def _write_answers(self, model: StudyModel, tasks: Sequence[PaperTask]) -> None:
        study, files = self.plan.study, self.plan.files
        for task in tasks:
            self.folder.begin(model, task, files[task.name].questions, study.base)
        merged = model.contender.recipe is not None
        adapter = self.folder.merged(model) if merged else model.adapter
        self.plan.tools.answer(
            study.base,
            None if adapter is None else str(adapter),
            tasks,
            self.plan.data,
            self.folder.answers(model),
            model.name,
        )
        for task in tasks:
            self.folder.end(model, task, files[task.name].questions)

    def _score(self, model: StudyModel, task: PaperTask, protocol: Protocol) -> str:
        def score() -> None:
            answers = self.folder.answers_to(model, task)
            files = self.plan.files[task.name].files
            result = self.plan.tools.score(task, files, answers, protocol)
            result.write(self.plan.score(model, task, protocol))

        return self._try(model, f"scored {task.name}, {protocol}", score, failures_only=True)

    def _try(
        self, model: StudyModel, what: str, work: Callable[[], None], *, failures_only: bool = False
    ) -> str:
        """Do a part of the work and report it; return why it failed, '' if it did not."""
        start, why = perf_counter(), ""
        try:
            work()
        except FAILURES as error:
            why = reason(error)
        if why or not failures_only:
            seconds = perf_counter() - start
            self.report(JobProgress(label=model.label, what=what, seconds=seconds, failure=why))
        return why


def _record(plan: StudyPlan, failures: Mapping[str, Mapping[str, str]]) -> StudyRecord:
    study = plan.study
    named = []
    for each in study.contenders:
        own = [t.name for t in study.tasks if each.kind != "individual" or t.name in study.adapters]
        how = each.recipe.to_dict() if each.recipe else {"adapter": each.source}
        named.append(ListedContender(each.label, each.kind, tuple(own), how))
    return StudyRecord(
        study.title,
        study.note,
        study.base,
        plan.tools.asked,
        study.tasks,
        study.protocols,
        tuple(named),
        study.published,
        plan.scores(),
        failures,
    )
