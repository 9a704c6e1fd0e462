"""What a walk is asked for, and what is said of its result: the same for folders and live models.

Whoever has the model makes a `RelaySession` of it; samples, settings and report are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..adapter.writer import round_to_dtype
from ..collect.samples import Sample, Samples
from ..engine.job import ModuleJob
from ..engine.plan import MergePlan
from ..engine.recipe import Recipe
from ..engine.run import MergedModule, RunFacts
from ..errors import few
from ..factors import Factors, Stack
from .answers import hold_out
from .elsewhere import MergeElsewhere
from .guards import SLIGHT
from .session import RelayResult, RelaySettings
from .walk import WalkSettings

_RIDGE, _FEW = 1e-3, 0.03
"""The ridge for 32 prompts and more, flat between 1e-4 and 1e-2; and that of few, over prompts."""
_SHORT = 16
"""Tokens of an answer that are few."""
_BY_DRIFT = "merged by drift: no linear module that every token of the prompts passes once"


@dataclass(frozen=True)
class RelayOrder:
    """A walk to be made.

    Attributes:
        settings: The method's parameters.
        files: The samples of every adapter.
        labels: The adapters' names in the report.
        weights: One for each adapter.
        dtype: Safetensors name of the type in which factors are stored.
    """

    settings: RelaySettings
    files: tuple[Samples, ...]
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    dtype: str

    @classmethod
    def of(cls, recipe: Recipe, plan: MergePlan, labels: Sequence[str]) -> RelayOrder:
        """Read the samples of a recipe.

        Raises:
            MergeError: samples that cannot be read
        """
        settings = RelaySettings(**plan.jobs[0].parameters)
        most = settings.prompts + settings.held_out
        files = tuple(Samples.read(path, most) for path in recipe.samples)
        return cls(settings, files, tuple(labels), recipe.coefficients, plan.dtype)

    @property
    def samples(self) -> list[tuple[Sample, ...]]:
        """The samples of every adapter."""
        return [file.samples for file in self.files]

    def walk_settings(self, rank: int) -> WalkSettings:
        """Return what the walk is made with at this rank."""
        prompts, held_out = self.settings.prompts, self.settings.held_out
        least = min(hold_out(len(own), prompts, held_out)[0] for own in self.samples)
        ridge = self.settings.ridge or max(_RIDGE, _FEW / least)
        return WalkSettings(rank, ridge, self.weights, self._stored)

    def elsewhere(
        self, jobs: Sequence[ModuleJob], stack_of: Callable[[ModuleJob], Stack], rank: int
    ) -> MergeElsewhere:
        """Return what merges the modules that the walk does not solve."""
        return MergeElsewhere(jobs, stack_of, rank, self._stored)

    def ways_out(self, device: torch.device, *, live: bool = False, work: bool = False) -> str:
        """Return what takes less memory and is not done yet, as it is written.

        Args:
            device: Where the model is.
            live: Whether the model is in memory already, and the settings are Python's.
            work: Whether there is a folder for unfinished work, which may have activations, too.
        """
        settings, most = self.settings, max(len(own) for own in self.samples)
        fewer = max(min(settings.prompts, most) // 2, 1)
        open_ways = {
            "precision=bfloat16": settings.precision == "float32" and not live,
            "token_weights=masses": settings.token_weights == "fisher",
            "offload=true": device.type == "cuda" and not (settings.offload or live),
            "activations=disk": settings.activations == "host" and work,
            f"prompts={fewer}": settings.prompts > fewer,
            f"longest={_SHORT}": settings.longest > _SHORT,
        }
        named = [way if live else f"--set {way}" for way, is_open in open_ways.items() if is_open]
        return ", ".join([*named, "smaller images"]) + " need less, or take a machine with more"

    def modules(self, jobs: Sequence[ModuleJob], result: RelayResult) -> Iterator[MergedModule]:
        """Yield every module in the plan's order."""
        for job in jobs:
            solution, scale = result.solutions[job.name], float(job.scale)
            notes = () if job.name in result.fitted else (_BY_DRIFT,)
            yield MergedModule(job, solution.factors.scaled(scale), scale, solution.kept, notes)

    def report(self, result: RelayResult) -> RunFacts:
        """Return what is said of the tasks."""
        record, lines = [], dict[str, str]()
        for label, file, task, quality in zip(
            self.labels, self.files, result.tasks, result.qualities, strict=True
        ):
            left = quality.left
            record.append(
                {
                    "adapter": label,
                    "samples_sha256": file.sha256,
                    "prompts": len(task.fitted),
                    "held_out": len(task.held_out),
                    "tokens": task.tokens,
                    "divergence": round(quality.divergence, 4),
                    "left": None if left is None else round(left, 4),
                }
            )
            rest = "" if left is None else f", {left:.1%} of it left on held-out prompts"
            lines[label] = (
                f"{len(task.fitted)} prompts; diverges {quality.divergence:.2f} from the base{rest}"
            )
        return RunFacts({"tasks": record}, lines, tuple(self._warnings(result)))

    def _stored(self, factors: Factors) -> Factors:
        """Round factors to the type in which they are stored."""
        A, B = (
            round_to_dtype(side.float().cpu(), self.dtype, "relay").float()
            for side in (factors.A, factors.B)
        )
        return Factors(A, B)

    def _warnings(self, result: RelayResult) -> Iterator[str]:
        for label, quality in zip(self.labels, result.qualities, strict=True):
            if quality.divergence < SLIGHT:
                yield (
                    f"{label} hardly differs from the base on its samples (divergence "
                    f"{quality.divergence:.2f}): are they its own?"
                )
        for i, j, share in result.inseparable:
            yield (
                f"the prompts of {self.labels[i]} and {self.labels[j]} cannot be told apart "
                f"({share:.0%} by their nearest centroid in the base): a merge cannot serve both"
            )
        yield from self._stray_notes(result)
        yield from result.notes

    def _stray_notes(self, result: RelayResult) -> Iterator[str]:
        """Name the prompts of every adapter that resemble another's."""
        rows = zip(self.labels, self.files, result.tasks, strict=True)
        for number, (label, file, task) in enumerate(rows):
            own = [stray for stray in result.strays if stray.task == number]
            if own:
                others = dict.fromkeys(self.labels[stray.other] for stray in own)
                lines = sorted(int(stray.where.rpartition(" ")[2]) for stray in own)
                yield (
                    f"{len(own)} of {len(task.prompts)} prompts of {label} resemble those of "
                    f"{few(list(others))}: {file.path}, line {few(list(map(str, lines)), 10)}. "
                    "Prompts of another task cost all tasks; take out what is not its own"
                )
