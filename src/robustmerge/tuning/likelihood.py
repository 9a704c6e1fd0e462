r"""Objectives on predictions: the likelihood of known answers, agreement with the adapters.

    likelihood   mean over samples of  1/n Σ_i log p(y_i | y_<i, x)      y the sample's answer
    agreement    - mean over answer positions of  KL(p_adapter ‖ p_merge)
                                                                  y the adapter's own greedy answer

The second is what `--polish` descends on. Both are 0 at best, and change with every digit of a
setting, where counts of right answers on a few samples do not.

Cost: one forward pass over the samples with their answers; for agreement, every adapter once
generates its answers. Memory: see `polish.targets`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from ..adapter.source import locate
from ..collect.gradients import log_likelihood
from ..polish.batches import groups
from ..polish.targets import TargetDistribution, find_targets, mean_divergence
from ..prompted.answers import AnsweredPrompt, answer_task
from .labeled import TaskSamples, splits_of
from .objective import Split
from .session import AT_ONCE, NAME, ModelSession


class _ModelMeasure:
    """What a measure on samples by the base's own probabilities consists of."""

    def __init__(
        self,
        measure: str,
        base: str,
        tasks: Sequence[TaskSamples],
        device: str,
        settings: Mapping[str, str],
    ) -> None:
        self.tasks = tuple(task.name for task in tasks)
        self.splits = splits_of(tasks)
        own = {task.name: task.facts for task in tasks}
        self.facts: Mapping[str, Any] = {
            "measure": measure,
            "base": base,
            **settings,
            "samples": own,
        }
        self._samples = tasks
        self._session = ModelSession(base, device, settings)


class Likelihood(_ModelMeasure):
    """Mean log-likelihood of a token of the samples' answers."""

    def __init__(
        self,
        base: str,
        tasks: Sequence[TaskSamples],
        device: str,
        settings: Mapping[str, str],
    ) -> None:
        super().__init__("likelihood", base, tasks, device, settings)
        self._prompts: dict[tuple[str, Split], tuple[AnsweredPrompt, ...]] = {}

    def scores(self, adapter: Path, split: Split) -> Generator[tuple[str, float], None, None]:
        """Score one task after the other."""
        with self._session.using(adapter) as model:
            for task in self._samples:
                yield task.name, self._score(model, self._prompts_of(model, task, split))

    def _prompts_of(
        self, model: PeftModel, task: TaskSamples, split: Split
    ) -> tuple[AnsweredPrompt, ...]:
        """Encode the samples with their answers, which no adapter changes, once."""
        if (task.name, split) not in self._prompts:
            samples = task.of(split)
            answered = answer_task(
                model,
                NAME,
                samples,
                self._session.encoder,
                fitted=len(samples),
                longest=self._session.longest,
                answers_known=True,
            )
            self._prompts[task.name, split] = answered.fitted
        return self._prompts[task.name, split]

    @torch.no_grad()
    def _score(self, model: PeftModel, prompts: Sequence[AnsweredPrompt]) -> float:
        total = 0.0
        for numbers in groups(prompts, AT_ONCE):
            rows = self._session.logits(model, [prompts[n] for n in numbers])
            for n, row in zip(numbers, rows, strict=True):
                answer = prompts[n].answer.to(row.device)
                total += float(log_likelihood(row, answer)) / len(answer)
        return total / len(prompts)


class Agreement(_ModelMeasure):
    """How little the merge diverges from every adapter on its own answers."""

    def __init__(
        self,
        base: str,
        adapters: Sequence[str],
        tasks: Sequence[TaskSamples],
        device: str,
        settings: Mapping[str, str],
    ) -> None:
        super().__init__("agreement", base, tasks, device, settings)
        self._folders = dict(zip(self.tasks, map(locate, adapters), strict=True))
        self._answers: dict[
            tuple[str, Split], tuple[tuple[AnsweredPrompt, ...], list[TargetDistribution]]
        ] = {}

    def scores(self, adapter: Path, split: Split) -> Generator[tuple[str, float], None, None]:
        """Score one task after the other."""
        for task in self._samples:  # the adapters answer before the merge is attached
            self._answers_to(task, split)
        with self._session.using(adapter) as model:
            for task in self._samples:
                prompts, targets = self._answers_to(task, split)
                logits = lambda some: self._session.logits(model, some)  # noqa: E731
                yield task.name, -mean_divergence(prompts, targets, logits, AT_ONCE)

    def _answers_to(
        self, task: TaskSamples, split: Split
    ) -> tuple[tuple[AnsweredPrompt, ...], list[TargetDistribution]]:
        """Let the task's adapter answer its samples, once."""
        if (task.name, split) not in self._answers:
            samples = task.of(split)
            with self._session.using(self._folders[task.name]) as model:
                prompts = answer_task(
                    model,
                    NAME,
                    samples,
                    self._session.encoder,
                    fitted=len(samples),
                    longest=self._session.longest,
                ).fitted
                targets = find_targets(
                    prompts, lambda some: self._session.logits(model, some), AT_ONCE
                )
            self._answers[task.name, split] = prompts, targets
        return self._answers[task.name, split]
