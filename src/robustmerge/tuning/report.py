"""What a search did: trials, the curve of the best, held-out scores, what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.recipe import Recipe
from .objective import Objective
from .scaled import MergesSpent

if TYPE_CHECKING:
    from .search import Search


@dataclass(frozen=True)
class TuneReport:
    """A search, under way or finished.

    Attributes:
        output: Its folder.
        facts: What was searched, and by what.
        trials: Every trial: number, state, value, drawn values, scores by task.
        curve: (number, value) of every trial that was the best so far.
        best: Number of the best trial; None where none is complete.
        start: Number of the trial of the recipe as it was; None where none is complete.
        recipe: The best recipe.
        held_out: Scores by task of the best merge on what no trial has seen; empty where there is
            no such part.
        held_out_start: The same of the recipe as it was.
        spent: Merges made, merges rescaled, seconds.
    """

    output: Path
    facts: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    curve: tuple[tuple[int, float], ...]
    best: int | None
    start: int | None
    recipe: Recipe | None
    spent: Mapping[str, float | int]
    held_out: Mapping[str, float] = field(default_factory=dict)
    held_out_start: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        output: Path,
        work: Search,
        facts: Mapping[str, Any],
        merges: MergesSpent,
        seconds: float,
    ) -> TuneReport:
        """Gather what was done so far; seconds and merges are of this run alone."""
        from .search import STARTED, attributes

        trials = tuple(map(attributes, work.study.get_trials(deepcopy=False, states=STARTED)))
        complete = [trial for trial in trials if trial["value"] is not None]
        curve: list[tuple[int, float]] = []
        sign = -1 if work.settings.minimize else 1
        for trial in complete:
            if not curve or sign * trial["value"] > sign * curve[-1][1]:
                curve.append((trial["number"], trial["value"]))
        best = curve[-1][0] if curve else None
        recipe = None if best is None else work.recipe(work.study.trials[best])
        first = next((trial["number"] for trial in complete if trial.get("start") == 0), None)
        spent = {
            **{name: round(value, 1) for name, value in asdict(merges).items()},
            "seconds_in_all": round(seconds, 1),
        }
        return cls(output, facts, trials, tuple(curve), best, first, recipe, spent)

    def with_held_out(self, best: Mapping[str, float], start: Mapping[str, float]) -> TuneReport:
        """Return the report with held-out scores."""
        return replace(self, held_out=best, held_out_start=start)

    def trial(self, number: int) -> Mapping[str, Any]:
        """Return a trial by its number."""
        return next(trial for trial in self.trials if trial["number"] == number)

    def record(self) -> dict[str, Any]:
        """Return the content of tune.json."""
        return {
            "facts": dict(self.facts),
            "best": self.best,
            "start": self.start,
            "recipe": None if self.recipe is None else self.recipe.to_dict(),
            "held_out": {"best": dict(self.held_out), "start": dict(self.held_out_start)},
            "spent_in_the_last_run": dict(self.spent),
            "curve": [list(point) for point in self.curve],
            "trials": [dict(trial) for trial in self.trials],
        }


def scores_of(objective: Objective, adapter: Path) -> dict[str, float]:
    """Return an adapter's held-out scores by task."""
    return dict(objective.scores(adapter, "held-out"))
