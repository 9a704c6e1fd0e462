"""`merge --method relay`: from adapters, base and samples to merged modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from ..adapter.writer import round_to_dtype
from ..collect.encode import SampleEncoder
from ..collect.load import load_model, load_processor
from ..collect.samples import Samples
from ..engine.job import ModuleJob
from ..engine.plan import MergePlan
from ..engine.recipe import Recipe
from ..engine.run import MergedModule, MergeRun, RunFacts
from ..factors import Factors
from ..files import sha256
from ..linalg import concat, fit
from ..threads import Progress
from .answers import hold_out
from .guards import SLIGHT
from .session import RelayResult, RelaySession, RelaySettings
from .solve import Solution
from .unfinished import Unfinished
from .walk import WalkSettings

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_RIDGE, _FEW = 1e-3, 0.03
"""The ridge for 32 prompts and more, flat between 1e-4 and 1e-2; and that of few, over prompts."""
_BY_MEAN = "merged by the mean of the updates: the walk is about the language model's blocks"


class RelayRun(MergeRun):
    """A walk through the base model in the place of a pass over files."""

    def __init__(
        self, recipe: Recipe, plan: MergePlan, *, device: str, work: str | Path | None = None
    ) -> None:
        """Open the samples; the model is loaded when modules are asked for."""
        super().__init__(plan, device=device, workers=1)
        self.settings = RelaySettings(**plan.jobs[0].parameters)
        self.recipe = recipe
        self._names = [f"adapter{n + 1}" for n in range(len(plan.adapters))]
        most = self.settings.prompts + self.settings.held_out
        self._samples = [Samples.read(path, most) for path in recipe.samples]
        self._facts = RunFacts()
        self._fitted: frozenset[str] = frozenset()
        self._work = work

    def facts(self) -> RunFacts:
        """Return the report on the tasks."""
        return self._facts

    def modules(self, rank: int, progress: Progress) -> Iterator[MergedModule]:
        """Walk through the model, then hand over every module in the plan's order."""
        solutions = self._walked(rank, progress)
        for job in self.plan.jobs:
            solution, notes = solutions[job.name], () if job.name in self._fitted else (_BY_MEAN,)
            yield MergedModule(
                job,
                solution.factors.scaled(float(job.scale)),
                float(job.scale),
                solution.kept,
                notes,
            )

    def _walked(self, rank: int, progress: Progress) -> Mapping[str, Solution]:
        base, settings = str(self.recipe.base), self.settings
        dtype = _PRECISIONS[settings.precision]
        encoder = SampleEncoder(load_processor(base), dtype)
        host = torch.device("cpu") if settings.offload else self.device
        model = load_model(base, self.plan.adapters, self._names, device=host, dtype=dtype)
        session = RelaySession(
            model,
            self._names,
            settings,
            device=self.device,
            extras={e.name: self.plan.extras.merge(e) for e in self.plan.extras.parameters},
            work=Unfinished(self._work, self._key(rank)),
        )
        with session.model.borrowed():
            result = session.merge(
                [file.samples for file in self._samples],
                encoder,
                self._walk_settings(rank),
                {job.name: self._mean(job, rank) for job in self.plan.jobs},
                progress,
            )
        self._fitted = result.fitted
        self._facts = self._report(result)
        return result.solutions

    def _walk_settings(self, rank: int) -> WalkSettings:
        weights = self.recipe.coefficients
        fitted = [
            hold_out(len(f.samples), self.settings.prompts, self.settings.held_out)[0]
            for f in self._samples
        ]
        ridge = self.settings.ridge or max(_RIDGE, _FEW / min(fitted))

        def round_factors(factors: Factors) -> Factors:
            A, B = (
                round_to_dtype(side.float().cpu(), self.plan.dtype, "relay").float()
                for side in (factors.A, factors.B)
            )
            return Factors(A, B)

        return WalkSettings(rank, ridge, weights, round_factors)

    def _mean(self, job: ModuleJob, rank: int) -> Solution:
        """Return the mean of a module's updates at the output's rank."""
        stack = self.stack(job)
        share = stack.share()
        return Solution(*fit(concat(stack.reweighted(share)), rank))

    def _key(self, rank: int) -> dict[str, Any]:
        return {
            "robustmerge": __version__,
            "recipe": self.recipe.to_dict(),
            "rank": rank,
            "adapters": [[sha256(f.path) for f in a.files] for a in self.plan.adapters],
            "samples": [file.sha256 for file in self._samples],
            "device": str(self.device),
        }

    def _report(self, result: RelayResult) -> RunFacts:
        record, lines = [], {}
        for adapter, file, task, quality in zip(
            self.plan.adapters, self._samples, result.tasks, result.qualities, strict=True
        ):
            record.append(
                {
                    "adapter": adapter.label,
                    "samples_sha256": file.sha256,
                    "prompts": len(task.fitted),
                    "held_out": len(task.held_out),
                    "tokens": task.tokens,
                    "divergence": round(quality.divergence, 4),
                    "left": None if quality.left is None else round(quality.left, 4),
                }
            )
            left = (
                ""
                if quality.left is None
                else f", {quality.left:.1%} of it left on held-out prompts"
            )
            lines[adapter.label] = (
                f"{len(task.fitted)} prompts; diverges {quality.divergence:.2f} from the base{left}"
            )
        return RunFacts({"tasks": record}, lines, tuple(self._warnings(result)))

    def _warnings(self, result: RelayResult) -> Iterator[str]:
        labels = [adapter.label for adapter in self.plan.adapters]
        for label, quality in zip(labels, result.qualities, strict=True):
            if quality.divergence < SLIGHT:
                yield (
                    f"{label} hardly differs from the base on its samples (divergence "
                    f"{quality.divergence:.2f}): are they its own?"
                )
        for i, j, share in result.inseparable:
            yield (
                f"the prompts of {labels[i]} and {labels[j]} cannot be told apart ({share:.0%} by "
                "their nearest centroid in the base): a merge cannot serve both"
            )
        yield from result.notes
