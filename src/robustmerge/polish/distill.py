r"""Gradient steps from a merge towards the adapters' own distributions.

    loss = Σ_t v_t · mean over the answer positions of task t in the step of KL(p_t ‖ q)

p_t is adapter t's distribution on its own answer, q the merged model's, v_t the tasks' weights with
sum one. AdamW without decay; the rate grows for 5 % of the steps and then falls to zero in a line;
gradients are clipped at norm 1. Held-out prompts are looked at ten times, and the factors of their
lowest loss are kept, the merge's own among them: so held-out prompts get no worse on average.
Without held-out prompts the last step is kept.

Source: distillation, Hinton et al., arXiv:1503.02531, of several adapters into one at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from accelerate.utils import find_executable_batch_size
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from ..errors import MergeError
from ..factors import Factors
from ..prompted.answers import AnsweredPrompt
from .batches import TaskSchedule, answer_logits, groups
from .targets import TargetDistribution, mean_divergence
from .trainable import TrainableMerge

_WARMUP, _CLIP = 0.05, 1.0
_LOOKS, _PATIENCE = 10, 3
"""Looks at held-out prompts in all, and how many of them in a row may be no improvement."""


@dataclass(frozen=True)
class DistilledTask:
    """A task's prompts with what the adapter predicts on them.

    Attributes:
        weight: The task's share of the loss.
        fitted: Prompts that are trained on.
        targets: The adapter's distributions on them.
        held_out: Prompts that are only looked at.
        held_out_targets: The adapter's distributions on those.
    """

    weight: float
    fitted: Sequence[AnsweredPrompt]
    targets: Sequence[TargetDistribution]
    held_out: Sequence[AnsweredPrompt] = ()
    held_out_targets: Sequence[TargetDistribution] = ()


@dataclass(frozen=True)
class DistillSettings:
    """How is distilled.

    Attributes:
        steps: Steps at most.
        rate: Highest learning rate.
        batch: Prompts of a step; one of each task at least.
        seed: For the order of prompts.
    """

    steps: int
    rate: float
    batch: int
    seed: int


@dataclass(frozen=True)
class Distilled:
    """A finished training.

    Attributes:
        factors: The kept factors by module.
        done: Steps that were taken.
        kept: The step whose factors are kept; 0 for the merge itself.
        curve: Weighted divergence on held-out prompts by step, where it was looked at.
        losses: The loss of every step.
    """

    factors: Mapping[str, Factors]
    done: int
    kept: int
    curve: Mapping[int, float]
    losses: tuple[float, ...]


def distill(
    merge: TrainableMerge,
    tasks: Sequence[DistilledTask],
    settings: DistillSettings,
    device: torch.device,
    done: Callable[[], None] = lambda: None,
) -> Distilled:
    """Train a merge's factors; it has the kept ones afterwards.

    Memory beyond the model: gradients and two moments of the factors, the activations of a portion
    of a step, which is halved when the device is out of memory, and one copy of the best factors.

    Args:
        merge: The merge; its model is on the device.
        tasks: What it learns.
        settings: How.
        device: Where.
        done: Called after every step.

    Raises:
        MergeError: the loss is not finite
    """
    start = merge.factors()

    @find_executable_batch_size(starting_batch_size=settings.batch)  # type: ignore[untyped-decorator]
    def run(portion: int) -> Distilled:
        merge.put(start)
        return _Training(merge, tasks, settings, device, portion).run(done)

    result: Distilled = run()
    merge.put(result.factors)
    return result


class _Training:
    """One training, a portion of every step at a time."""

    def __init__(
        self,
        merge: TrainableMerge,
        tasks: Sequence[DistilledTask],
        settings: DistillSettings,
        device: torch.device,
        portion: int,
    ) -> None:
        self._merge, self._tasks, self._settings = merge, tasks, settings
        self._device, self._portion = device, portion
        self._optimizer = torch.optim.AdamW(
            merge.parameters, settings.rate, weight_decay=0.0, foreach=True
        )
        self._schedule = get_linear_schedule_with_warmup(
            self._optimizer, round(_WARMUP * settings.steps), settings.steps
        )
        self._best = (0, merge.factors())
        self._curve: dict[int, float] = {}
        self._losses: list[float] = []

    def run(self, done: Callable[[], None]) -> Distilled:
        """Take the steps, and stop when held-out prompts get no better."""
        settings = self._settings
        each = max(1, settings.batch // len(self._tasks))
        order = TaskSchedule([len(task.fitted) for task in self._tasks], each, settings.seed)
        every = max(1, round(settings.steps / _LOOKS))
        self._look(0)
        for step, chosen in enumerate(islice(order, settings.steps), 1):
            self._step(chosen)
            done()
            if (step % every == 0 or step == settings.steps) and self._look(step):
                break
        if not self._curve:
            self._best = (len(self._losses), self._merge.factors())
        kept, factors = self._best
        return Distilled(factors, len(self._losses), kept, self._curve, tuple(self._losses))

    def _step(self, chosen: Sequence[tuple[int, int]]) -> None:
        prompts = [self._tasks[task].fitted[n] for task, n in chosen]
        positions = [0] * len(self._tasks)
        for (task, _), prompt in zip(chosen, prompts, strict=True):
            positions[task] += len(prompt.answer)
        total = 0.0
        for numbers in groups(prompts, self._portion):
            rows = self._logits([prompts[n] for n in numbers])
            loss = torch.zeros((), device=self._device)
            for n, row in zip(numbers, rows, strict=True):
                task, number = chosen[n]
                share = self._tasks[task].weight / positions[task]
                loss = loss + share * self._tasks[task].targets[number].divergence(row).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        self._check_finite(total)
        nn.utils.clip_grad_norm_(self._merge.parameters, _CLIP)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        self._losses.append(total)

    def _look(self, step: int) -> bool:
        """Measure held-out prompts, keep the best factors, and return whether to stop."""
        tasks = [task for task in self._tasks if task.held_out]
        if not tasks:
            return False
        values = [
            task.weight
            * mean_divergence(task.held_out, task.held_out_targets, self._logits, self._portion)
            for task in tasks
        ]
        value = sum(values) / sum(task.weight for task in tasks)
        self._check_finite(value)
        best = min(self._curve.values(), default=float("inf"))
        self._curve[step] = value
        if value < best:
            self._best = (step, self._merge.factors())
        steps = list(self._curve)
        return steps.index(step) - steps.index(self._best[0]) >= _PATIENCE

    def _logits(self, prompts: Sequence[AnsweredPrompt]) -> list[Tensor]:
        return answer_logits(self._merge.model, prompts, self._device)

    def _check_finite(self, value: float) -> None:
        if value != value or abs(value) == float("inf"):
            raise MergeError(
                f"the divergence from the adapters' answers is {value} after "
                f"{len(self._losses)} steps",
                where="--polish",
                hint="a smaller rate, such as --polish 300:rate=1e-4, or precision=float32",
            )
