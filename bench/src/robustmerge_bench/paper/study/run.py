"""Doing what a plan says: merge, answer, score, one model after the other.

Every step leaves its result under a name that says what it was made from, so that a run that was
killed goes on where it was, and one that fails at one model does the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from robustmerge.errors import MergeError, few

from ..score import Protocol
from ..tasks import PaperTask
from .folder import StudyFolder
from .models import StudyModel
from .plan import ModelWork, StudyPlan
from .record import ListedContender, StudyRecord

_FAILURES = (ArithmeticError, RuntimeError, ValueError, OSError)  # such as torch's out of memory


@dataclass(frozen=True)
class Step:
    """Something that has been done.

    Attributes:
        model: For which model.
        what: What: merged, answered or scored.
        seconds: How long it took.
        failure: Why it failed; '' where it did not.
    """

    model: str
    what: str
    seconds: float
    failure: str = ""


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        done: Models for which something was done, all of it.
        skipped: Models for which everything was there.
        failures: What went wrong, by label and task ('' where it was no one task).
    """

    done: int = 0
    skipped: int = 0
    failures: dict[str, dict[str, str]] = field(default_factory=dict)


Tell = Callable[[Step], None]


def silent(step: Step) -> None:
    """Show no progress."""


def run(plan: StudyPlan, *, tell: Tell = silent) -> Outcome:
    """Do what is not done yet, and keep the study's record.

    Args:
        plan: What there is to do.
        tell: Called after every step.
    """
    outcome = Outcome()
    before = _failures_of_others(plan)
    _record(plan, before).write(plan.folder.out)
    for model in plan.chosen:
        work = plan.work(model)
        if work.done:
            outcome.skipped += 1
            continue
        failures = _Doing(plan, tell).do(work)
        if failures:
            outcome.failures.setdefault(model.contender.label, {}).update(failures)
        else:
            outcome.done += 1
        _record(plan, {**before, **outcome.failures}).write(plan.folder.out)
    return outcome


def _failures_of_others(plan: StudyPlan) -> dict[str, Mapping[str, str]]:
    """What went wrong before, of contenders that are not run now."""
    try:
        known = StudyRecord.read(plan.folder.out).failures
    except MergeError:  # there is none yet, or it is damaged and written anew
        return {}
    return {label: why for label, why in known.items() if label not in plan.labels}


@dataclass(frozen=True)
class _Doing:
    """One model's work."""

    plan: StudyPlan
    tell: Tell

    @property
    def folder(self) -> StudyFolder:
        return self.plan.folder

    def do(self, work: ModelWork) -> dict[str, str]:
        """Do it; what went wrong, by task."""
        if work.merge and (why := self._try(work.model, "merged", lambda: self._merge(work.model))):
            return {"": why}
        failures = self._answer(work.model, work.answer) if work.answer else {}
        return failures | self._score_all(work, failures)

    def _score_all(self, work: ModelWork, unanswered: Mapping[str, str]) -> dict[str, str]:
        """Score all that was answered; said in one line, but for what went wrong."""
        start, scored, failures = perf_counter(), [], {}
        for task, protocol in work.score:
            # The same answers as before, given again, have their score.
            if task.name in unanswered or self.plan.is_scored(work.model, task, protocol):
                continue
            if why := self._score(work.model, task, protocol):
                failures[task.name] = why
            else:
                scored.append(task.name)
        if scored:
            what = "scored " + few(list(dict.fromkeys(scored)), 12)
            self.tell(Step(work.model.label, what, perf_counter() - start))
        return failures

    def _merge(self, model: StudyModel) -> None:
        assert model.contender.recipe is not None
        self.plan.tools.merge(model.contender.recipe, self.folder.merged(model))

    def _answer(self, model: StudyModel, tasks: Sequence[PaperTask]) -> dict[str, str]:
        """Answer all in one go, so that the model is loaded once; after a failure one by one."""
        why = self._asked(model, tasks)
        if not why or len(tasks) == 1:
            return {tasks[0].name: why} if why else {}
        found = {task.name: self._asked(model, [task]) for task in tasks}
        return {name: why for name, why in found.items() if why}

    def _asked(self, model: StudyModel, tasks: Sequence[PaperTask]) -> str:
        what = "answered " + few([task.name for task in tasks], 12)
        return self._try(model, what, lambda: self._ask(model, tasks))

    def _ask(self, model: StudyModel, tasks: Sequence[PaperTask]) -> None:
        study, files = self.plan.study, self.plan.files
        for task in tasks:
            self.folder.begin(model, task, files[task.name].questions, study.base)
        adapter = model.adapter
        if model.contender.recipe is not None:
            adapter = self.folder.merged(model)
        out = self.folder.answers(model)
        worn = None if adapter is None else str(adapter)
        name = model.name
        self.plan.tools.answer(study.base, worn, tasks, self.plan.data, out, name)
        for task in tasks:
            self.folder.end(model, task, files[task.name].questions)

    def _score(self, model: StudyModel, task: PaperTask, protocol: Protocol) -> str:
        def score() -> None:
            answers = self.folder.answered(model, task)
            found = self.plan.tools.score(task, self.plan.files[task.name].files, answers, protocol)
            found.write(self.plan.score(model, task, protocol))

        why, seconds = _attempt(score)
        if why:
            self.tell(Step(model.label, f"scored {task.name}, {protocol}", seconds, why))
        return why

    def _try(self, model: StudyModel, what: str, do: Callable[[], None]) -> str:
        """Why this failed, '' where it did not; said in any case."""
        why, seconds = _attempt(do)
        self.tell(Step(model.label, what, seconds, why))
        return why


def _attempt(do: Callable[[], None]) -> tuple[str, float]:
    """Why this failed, '' where it did not, and how long it took."""
    start = perf_counter()
    try:
        do()
    except MergeError as error:
        return str(error), perf_counter() - start
    except _FAILURES as error:
        return f"{type(error).__name__}: {error}", perf_counter() - start
    return "", perf_counter() - start


def failed(outcome: Outcome) -> MergeError:
    """The error for a run in which something failed."""
    label, of_label = next(iter(outcome.failures.items()))
    task, why = next(iter(of_label.items()))
    return MergeError(
        f"{few(list(outcome.failures))} failed",
        where=f"{label} {task}".strip() + f"\n{why}",
        hint="all others are done; mend this and run the same command again",
    )


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
