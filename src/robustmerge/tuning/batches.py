"""Several trials at once: drawn together, scored side by side, and reported in their order.

What is drawn next depends on the seed, the scores and how many are drawn together, and not on which
of them ends first: on a cluster, a search draws what it draws on one machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from time import perf_counter

import optuna
from optuna.trial import TrialState

from ..cluster import RayEngine
from ..engine.recipe import Recipe
from ..errors import MergeError
from ..methods import load_plugin
from .measures import make_objective
from .objective import Objective, ObjectiveSetup
from .scaled import MergesSpent, MergeStore
from .search import Search


@dataclass(frozen=True)
class TrialJob:
    """A recipe to merge and to score."""

    number: int
    recipe: Recipe

    @property
    def label(self) -> str:
        """A readable name."""
        return f"trial {self.number}"


@dataclass(frozen=True)
class TrialScores:
    """What a trial gave: scores by task, or why it failed; seconds and merges."""

    scores: dict[str, float]
    failure: MergeError | None = None
    seconds: float = 0.0
    spent: MergesSpent = field(default_factory=MergesSpent)


ScoreJobs = Callable[[Sequence[TrialJob]], Iterator[tuple[TrialJob, TrialScores]]]
"""Scores jobs, and yields them as they end."""


@dataclass
class TrialWorker:
    """Merges and scores recipes, one after the other."""

    objective: Objective
    store: MergeStore

    def __call__(self, job: TrialJob) -> TrialScores:
        """Score a job; an error of the merge or of the measure is its failure."""
        begin, before = perf_counter(), replace(self.store.spent)
        scores: dict[str, float] = {}
        failure = None
        try:
            with (
                self.store.merged(job.recipe) as folder,
                closing(self.objective.scores(folder, "tuning")) as scored,
            ):
                scores.update(scored)
        except MergeError as error:
            failure = error
        spent = replace(self.store.spent).add(before, -1)
        return TrialScores(scores, failure, perf_counter() - begin, spent)


@dataclass(frozen=True)
class WorkerStart:
    """Prepares a worker in another process.

    Attributes:
        measure: What is maximized, as the user wrote it.
        setup: What the objective is made of.
        home: An existing folder for merges.
        workers: Modules computed at the same time.
    """

    measure: str
    setup: ObjectiveSetup
    home: Path
    workers: int | None

    def __call__(self) -> TrialWorker:
        """Load plugins, and make the objective and a store of merges."""
        for plugin in self.setup.recipe.plugins:
            load_plugin(plugin)
        store = MergeStore(self.home, device=self.setup.device, workers=self.workers)
        return TrialWorker(make_objective(self.measure, self.setup), store)


def score_here(search: Search) -> ScoreJobs:
    """Return what scores jobs in this process, one after the other."""
    worker = TrialWorker(search.objective, search.store)
    return lambda jobs: ((job, worker(job)) for job in jobs)


def score_on(engine: RayEngine, start: WorkerStart, spent: MergesSpent) -> ScoreJobs:
    """Return what scores jobs on a cluster, and counts what they spend."""
    token = token_hex(8)  # the workers' objectives are made once

    def score(jobs: Sequence[TrialJob]) -> Iterator[tuple[TrialJob, TrialScores]]:
        for job, scores in engine(jobs, start, token):
            spent.add(scores.spent)
            yield job, scores

    return score


def run_batches(search: Search, score: ScoreJobs) -> None:
    """Run the trials that are missing, `at_once` at a time.

    Raises:
        MergeError: the first trial fails, so that nothing can be searched.
    """
    settings, begin = search.settings, perf_counter()
    to_draw = search.left
    while (count := min(settings.at_once, to_draw, search.left)) > 0:
        if settings.timeout is not None and perf_counter() - begin > settings.timeout:
            return
        to_draw -= count
        _run_batch(search, score, [search.study.ask() for _ in range(count)])


def _run_batch(search: Search, score: ScoreJobs, trials: Sequence[optuna.Trial]) -> None:
    """Score trials and report what they gave; of equal ones only the first is scored."""
    recipes = {trial.number: search.space.recipe_of(trial) for trial in trials}
    first: dict[str, optuna.Trial] = {}
    for trial in trials:
        if (other := first.setdefault(_values(trial), trial)) is not trial:
            trial.set_user_attr("same as", other.number)
    results = {
        trial.number: TrialScores(known)
        for trial in first.values()
        if (known := search.known(trial))
    }
    new = [trial.number for trial in first.values() if trial.number not in results]
    results |= {job.number: of for job, of in score([TrialJob(n, recipes[n]) for n in new])}
    for trial in trials:
        _tell(search, trial, results[first[_values(trial)].number])


def _tell(search: Search, trial: optuna.Trial, result: TrialScores) -> None:
    study = search.study
    trial.set_user_attr("seconds", round(result.seconds, 3))
    if result.failure is not None:
        trial.set_user_attr("failure", str(result.failure))
        study.tell(trial, state=TrialState.FAIL)
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise result.failure
    else:
        values = list(result.scores.values())
        trial.set_user_attr("scores", result.scores)
        for step in range(len(values)):
            trial.report(search.pooled(values[: step + 1]), step)
        study.tell(trial, search.pooled(values))
    search.ended(study, study.trials[trial.number])


def _values(trial: optuna.Trial) -> str:
    return json.dumps(trial.params, sort_keys=True)
