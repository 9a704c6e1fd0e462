"""Distillation from files: base, adapters and samples in, trained factors and a report out.

The adapters answer their prompts on the base and are taken out of memory before the merge is put
on it, so that the base is in memory once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..adapter.writer import round_to_dtype
from ..collect.encode import SampleEncoder
from ..collect.load import load_base, load_model, load_processor
from ..collect.samples import Samples
from ..engine.plan import MergePlan
from ..engine.polishing import PolishSettings
from ..engine.recipe import Recipe
from ..engine.run import RunFacts
from ..errors import MergeError, enough_memory
from ..factors import Factors
from ..prompted.answers import AnsweredPrompt, answer_task, hold_out
from ..threads import Progress, parse_device
from .batches import answer_logits
from .distill import Distilled, DistilledTask, DistillSettings, distill
from .report import TaskDivergence, report_polish
from .targets import TargetDistribution, find_targets, mean_divergence
from .trainable import TrainableMerge

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_AT_ONCE = 8
"""Sequences that are run together without gradients; a step's portion is found by trying."""


@dataclass(frozen=True)
class _Measured:
    """A task with its prompts and targets, and how far the base is from them."""

    task: DistilledTask
    base: float

    @property
    def judged(self) -> tuple[Sequence[AnsweredPrompt], Sequence[TargetDistribution]]:
        """Held-out prompts and targets, or the fitted ones where none is held out."""
        task = self.task
        if task.held_out:
            return task.held_out, task.held_out_targets
        return task.fitted, task.targets


class Distillation:
    """Gradient steps from one LoRA towards the adapters of a plan."""

    def __init__(
        self,
        recipe: Recipe,
        plan: MergePlan,
        settings: PolishSettings,
        *,
        rank: int,
        device: str,
        progress: Progress,
    ) -> None:
        """Open the samples.

        Args:
            recipe: What is merged, with base and samples.
            plan: What followed from it.
            settings: How it is distilled.
            rank: The LoRA's rank.
            device: Where to compute.
            progress: Called with the steps done and the steps in all.

        Raises:
            MergeError: no such device, or samples that cannot be read
        """
        self._recipe, self._plan, self._settings = recipe, plan, settings
        self._rank, self._progress, self._done = rank, progress, 0
        self._device, self._dtype = parse_device(device), _TYPES[settings.precision]
        most = settings.prompts + settings.held_out
        self._files = [Samples.read(path, most) for path in recipe.samples]
        self._total = sum(len(file.samples) for file in self._files) + settings.steps

    def run(self, start: Mapping[str, Factors]) -> tuple[Mapping[str, Factors], RunFacts]:
        """Train from these updates; return the kept factors as they are stored, and the report.

        Where no step gets better on held-out prompts, `start` itself comes back.

        Raises:
            MergeError: samples or a model that do not fit, a device out of memory, a loss that is
                not finite
        """
        with _enough_memory(self._device, self._ways_out()):
            return self._run(start)

    def _ways_out(self) -> str:
        """Return what takes less memory and is not done yet, as it is written."""
        settings, polish = self._settings, str(self._recipe.polish or "")
        ways = ["precision=bfloat16"] * (settings.precision == "float32")
        ways += ["recompute=true"] * (not settings.recompute)
        named = [f"--set {way}" for way in ways]
        if polish and ways:
            named = [f"--polish {polish}{',' if ':' in polish else ':'}{','.join(ways)}"]
        return ", ".join([*named, "smaller images"]) + " need less, or take a machine with more"

    def _run(self, start: Mapping[str, Factors]) -> tuple[Mapping[str, Factors], RunFacts]:
        measured = self._ask_adapters()
        gc.collect()  # the adapters' model, whose parts refer to one another
        base = load_base(str(self._recipe.base), self._dtype).to(self._device)
        merge = TrainableMerge(
            base,
            start,
            {e.name: self._plan.extras.merge(e) for e in self._plan.extras.parameters},
            rank=self._rank,
            seed=self._recipe.seed,
            recompute=self._settings.recompute,
        )
        before = self._left(merge.model, measured)
        result = self._distill(merge, [each.task for each in measured])
        factors, after = start, before
        if result.kept:
            factors = self._rounded(result.factors)
            merge.put(factors)
            after = self._left(merge.model, measured)
        divergences = [
            TaskDivergence(adapter.label, file.sha256, each.task, each.base, *values)
            for adapter, file, each, *values in zip(
                self._plan.adapters, self._files, measured, before, after, strict=True
            )
        ]
        return factors, report_polish(self._settings, self._rate, result, divergences)

    @property
    def _rate(self) -> float:
        return self._settings.rate_at(self._rank)

    def _ask_adapters(self) -> list[_Measured]:
        """Let every adapter answer its prompts, and keep what it predicts there."""
        base, names = str(self._recipe.base), [f"adapter{n + 1}" for n in range(len(self._files))]
        encoder = SampleEncoder(load_processor(base), self._dtype)
        model = load_model(
            base, self._plan.adapters, names, device=self._device, dtype=self._dtype
        ).eval()
        total = sum(self._recipe.coefficients)
        weights = [weight / total for weight in self._recipe.coefficients]
        return [
            self._ask(model, name, file, encoder, weight)
            for name, file, weight in zip(names, self._files, weights, strict=True)
        ]

    def _ask(
        self, model: Any, name: str, file: Samples, encoder: SampleEncoder, weight: float
    ) -> _Measured:
        settings, logits = self._settings, self._logits_of(model)
        fitted, held_out = hold_out(len(file.samples), settings.prompts, settings.held_out)
        answered = answer_task(
            model,
            name,
            file.samples[: fitted + held_out],
            encoder,
            fitted=fitted,
            longest=settings.longest,
            done=self._step,
        )
        task = DistilledTask(
            weight,
            answered.fitted,
            find_targets(answered.fitted, logits, _AT_ONCE),
            answered.held_out,
            find_targets(answered.held_out, logits, _AT_ONCE),
        )
        judged = _Measured(task, 0.0).judged
        with model.disable_adapter():
            return _Measured(task, mean_divergence(*judged, logits, _AT_ONCE))

    def _distill(self, merge: TrainableMerge, tasks: Sequence[DistilledTask]) -> Distilled:
        settings = self._settings
        how = DistillSettings(settings.steps, self._rate, settings.batch, self._recipe.seed)
        return distill(merge, tasks, how, self._device, self._step)

    def _left(self, model: nn.Module, measured: Sequence[_Measured]) -> list[float]:
        logits = self._logits_of(model)
        return [mean_divergence(*each.judged, logits, _AT_ONCE) for each in measured]

    def _logits_of(self, model: nn.Module) -> Callable[[Sequence[AnsweredPrompt]], list[Tensor]]:
        return lambda prompts: answer_logits(model, prompts, self._device)

    def _step(self) -> None:
        self._done += 1
        self._progress(min(self._done, self._total), self._total)

    def _rounded(self, factors: Mapping[str, Factors]) -> dict[str, Factors]:
        """Return factors as the file will have them: what is measured is what is written."""

        def stored(value: Tensor, name: str) -> Tensor:
            return round_to_dtype(value, self._plan.dtype, name)

        return {
            name: Factors(stored(each.A, name), stored(each.B, name))
            for name, each in factors.items()
        }


@contextmanager
def _enough_memory(device: torch.device, hint: str) -> Iterator[None]:
    """Turn an exhausted memory into an error with this hint, accelerate's own error included."""
    try:
        with enough_memory(f"the model on {device}", hint):
            yield
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        raise MergeError(
            "the device is out of memory for a single prompt", where=f"--device {device}", hint=hint
        ) from None
