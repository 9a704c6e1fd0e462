"""`merge --method distill`: a start from files, and gradient steps from there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path

import torch

from ..engine.plan import MergePlan
from ..engine.polishing import PolishSettings
from ..engine.recipe import Recipe
from ..engine.run import MergedModule, MergeRun, RunFacts
from ..errors import MergeError
from ..factors import Factors
from ..linalg import concat, fit
from ..steps.scale import measure
from ..threads import Progress
from .session import Distillation

_RULE = "norm-matched"


class DistillRun(MergeRun):
    """A training in the place of a pass over files."""

    def __init__(
        self, recipe: Recipe, plan: MergePlan, *, device: str, work: str | Path | None = None
    ) -> None:
        """Read the settings; the model is loaded when modules are asked for.

        Raises:
            MergeError: a folder for unfinished work, which a training does not keep
        """
        super().__init__(plan, device=device, workers=1)
        if work is not None or recipe.polish is not None:
            option = "--work" if work is not None else "--polish"
            raise MergeError(
                f"method 'distill' does not go with {option}",
                where=option,
                hint="leave it out; --set steps=600 trains longer",
            )
        parameters = {k: v for k, v in plan.jobs[0].parameters.items() if k != "seed"}
        self._start = str(parameters.pop("start"))
        self._settings = PolishSettings(**parameters)
        self._recipe, self._facts = recipe, RunFacts()

    def facts(self) -> RunFacts:
        """Return the report on the training."""
        return self._facts

    def modules(self, rank: int, progress: Progress) -> Iterator[MergedModule]:
        """Train, then hand over every module in the plan's order."""
        work = Distillation(
            self._recipe,
            self.plan,
            self._settings,
            rank=rank,
            device=str(self.device),
            progress=progress,
        )
        factors, self._facts = work.run(self._starts(rank))
        for job in self.plan.jobs:
            trained = factors[job.name].scaled(float(job.scale))
            if trained.rank != rank:  # a start to which no step was better
                trained, _ = fit(trained, rank)
            yield self.stored(MergedModule(job, trained, float(job.scale), 1.0, ()))

    def _starts(self, rank: int) -> dict[str, Factors]:
        """Return every module's update before the first step."""
        if self._start == "scratch":
            return {
                job.name: Factors(torch.zeros(1, job.shape[1]), torch.zeros(job.shape[0], 1))
                for job in self.plan.jobs
            }
        stacks = {job.name: self.stack(job) for job in self.plan.jobs}
        sizes = reduce(add, (measure(concat(stack), stack) for stack in stacks.values()))
        factor = sizes.factor(_RULE)
        return {name: fit(concat(s).scaled(factor), rank)[0] for name, s in stacks.items()}
