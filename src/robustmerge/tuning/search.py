"""A search by Optuna: trials from the starting values on, each a merge and its scores.

Sampling, pruning, storage and resumption are Optuna's. A trial whose tasks so far are below the
median of earlier trials at the same task is pruned; the starting values never are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from ..engine.recipe import Recipe
from ..errors import MergeError, first_line
from .objective import POOLINGS, Objective, Pooling
from .scaled import MergeStore
from .space import SearchSpace

STUDY = "robustmerge tune"
SamplerName = Literal["tpe", "random", "qmc"]
SAMPLERS: Mapping[SamplerName, Callable[[int, bool], BaseSampler]] = {
    # The liar counts trials that run as bad ones, so that trials at once are not all alike.
    "tpe": lambda seed, several: TPESampler(seed=seed, constant_liar=several),
    "random": lambda seed, several: RandomSampler(seed=seed),
    "qmc": lambda seed, several: QMCSampler(seed=seed, warn_independent_sampling=False),
}
"""Samplers by name, from a seed and whether several trials run at once."""
_BEFORE_PRUNING = 5
"""Complete trials before the first is pruned, which is Optuna's own default."""
STARTED = tuple(state for state in TrialState if state != TrialState.WAITING)
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""Trials that count; those that failed or were killed do not."""


class FailedTrialError(Exception):
    """A trial that failed while others had not; the search goes on."""


@dataclass(frozen=True)
class SearchSettings:
    """How a search is made.

    Attributes:
        trials: How many there are in all, those of earlier runs included.
        timeout: Seconds after which no new trial begins; None for no limit.
        seed: Of the sampler.
        pooling: How the scores of tasks become one number.
        minimize: Smaller scores are better.
        sampler: One of SAMPLERS.
        prune: End trials early that are worse than the median, where they run one by one.
        at_once: Trials that are drawn together, before any of them is scored.
    """

    trials: int = 50
    timeout: float | None = None
    seed: int = 0
    pooling: Pooling = "mean"
    minimize: bool = False
    sampler: SamplerName = "tpe"
    prune: bool = True
    at_once: int = 1


@dataclass
class Search:
    """Trials of a space by an objective.

    Attributes:
        storage: An URL of Optuna, such as sqlite:///study.db.
        alone: No other process runs trials of this storage now, so that a trial that runs there is
            one that was killed.
        ended: Called after every trial with the study and the trial.
    """

    space: SearchSpace
    objective: Objective
    store: MergeStore
    settings: SearchSettings
    storage: str
    alone: bool = True
    ended: Callable[[optuna.Study, FrozenTrial], None] = lambda study, trial: None
    study: optuna.Study = field(init=False)

    def __post_init__(self) -> None:
        """Open the study, and put the starting values first in the queue."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        settings = self.settings
        try:
            self.study = optuna.create_study(
                study_name=STUDY,
                storage=self.storage,
                sampler=_sampler(settings),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING)
                if settings.prune
                else optuna.pruners.NopPruner(),
                direction="minimize" if settings.minimize else "maximize",
                load_if_exists=True,
            )
        except Exception as error:  # of any database
            raise _not_opened(self.storage, error) from None
        self._requeue()

    @property
    def left(self) -> int:
        """Trials that are missing."""
        return self.settings.trials - len(self.study.get_trials(deepcopy=False, states=_FINISHED))

    def run(self) -> None:
        """Run the trials that are missing, one by one.

        Raises:
            MergeError: the first trial fails, so that nothing can be searched.
        """
        if (todo := self.left) > 0:
            self.study.optimize(
                self._try,
                n_trials=todo,
                timeout=self.settings.timeout,
                catch=(FailedTrialError,),
                # Other processes may run trials of the same storage.
                callbacks=[self.ended, MaxTrialsCallback(self.settings.trials, _FINISHED)],
            )

    def pooled(self, scores: Sequence[float]) -> float:
        """Return one number of several tasks' scores."""
        return POOLINGS[self.settings.pooling](scores, self.settings.minimize)

    def recipe(self, trial: FrozenTrial) -> Recipe:
        """Return the recipe of a finished trial."""
        return self.space.recipe_of(optuna.trial.FixedTrial(trial.params))

    def _requeue(self) -> None:
        """Queue the starting values that no trial has tried, and fail what was killed."""
        for trial in self.study.get_trials():
            if trial.state == TrialState.RUNNING and self.alone:
                self.study.tell(trial.number, state=TrialState.FAIL)
        started = {
            trial.user_attrs.get("start")
            for trial in self.study.get_trials()
            if trial.state != TrialState.FAIL
        }
        for number, values in enumerate(self.space.start_values()):
            if number not in started:
                self.study.enqueue_trial(values, user_attrs={"start": number})

    def _try(self, trial: optuna.Trial) -> float:
        try:
            return self._score(trial)
        except MergeError as error:
            trial.set_user_attr("failure", str(error))
            if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise
            raise FailedTrialError from error

    def _score(self, trial: optuna.Trial) -> float:
        begin = perf_counter()
        recipe = self.space.recipe_of(trial)
        scores: dict[str, float] = self.known(trial)
        if not scores:
            with (
                self.store.merged(recipe) as folder,
                closing(self.objective.scores(folder, "tuning")) as scored,
            ):
                for step, (task, score) in enumerate(scored):
                    scores[task] = score
                    self._report(trial, step, scores)
        trial.set_user_attr("seconds", round(perf_counter() - begin, 3))
        return self.pooled(list(scores.values()))

    def _report(self, trial: optuna.Trial, step: int, scores: Mapping[str, float]) -> None:
        """Keep the scores so far; end the trial if they are below the median at this task.

        Raises:
            TrialPruned: they are, and others are left.
        """
        trial.set_user_attr("scores", dict(scores))
        trial.report(self.pooled(list(scores.values())), step)
        left = len(scores) < len(self.objective.tasks)
        if left and "start" not in trial.user_attrs and trial.should_prune():
            raise optuna.TrialPruned

    def known(self, trial: optuna.Trial) -> dict[str, float]:
        """Return the scores of an earlier trial of the same values; none where there is none."""
        for other in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if other.params == trial.params:
                scores: dict[str, float] = other.user_attrs["scores"]
                trial.set_user_attr("scores", scores)
                trial.set_user_attr("same as", other.number)
                return dict(scores)
        return {}


def _sampler(settings: SearchSettings) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the liar
        return SAMPLERS[settings.sampler](settings.seed, settings.at_once > 1)


def attributes(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return what a trial is reported by."""
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "values": dict(trial.params),
        **trial.user_attrs,
    }


def check_storage(url: str) -> None:
    """Open a storage that the user named, before anything is written.

    Raises:
        MergeError: it cannot be opened.
    """
    try:
        optuna.storages.get_storage(url)
    except Exception as error:  # of any database
        raise _not_opened(url, error) from None


def _not_opened(url: str, error: Exception) -> MergeError:
    return MergeError(
        f"the storage cannot be opened: {first_line(error)}",
        where=url,
        hint="--storage is an URL of Optuna, such as sqlite:///study.db",
    )
