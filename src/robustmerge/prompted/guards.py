r"""What a walk says about its samples and its result, without labels.

    divergence   mean over answer positions of KL(adapter ‖ base), on the adapter's own answers
    left         mean KL(adapter ‖ merged) / mean KL(adapter ‖ base), on prompts that were held out
    apart        share of prompts whose nearest centroid is their own task's, of two tasks

Samples of another task ruin a walk, since inputs are how it distinguishes tasks. There an adapter
hardly differs from the base: on the laptop benchmark the divergence is above 1 on an adapter's own
prompts and below 0.6 on another task's in most cases. `left` is only meant for held-out prompts: on
the fitted ones it is near zero whatever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from .answers import AnsweredPrompt, AnsweredTask
from .blocks import LanguageBlocks
from .stream import Stream
from .switch import SwitchedModel

SLIGHT = 1.0
"""Divergence below which an adapter's samples are probably not its own, in nats."""
_APART = 0.75
"""Share of prompts below which two tasks cannot be told apart; 0.5 is chance."""
_MOST = 16
"""Prompts of each adapter that are measured, the held-out ones first."""


@dataclass(frozen=True)
class TaskQuality:
    """What is known of one adapter's samples.

    Attributes:
        divergence: Of the adapter from the base on them, in nats for each answer position.
        left: Share of it that is left in the merged model, on held-out prompts; None without any.
    """

    divergence: float
    left: float | None = None


class Guard:
    """Logits of the adapters and of the base, with which the merged model is compared later."""

    def __init__(
        self, model: SwitchedModel, blocks: LanguageBlocks, tasks: Sequence[AnsweredTask]
    ) -> None:
        """Run the adapters' models and the base on a few prompts of each."""
        self._model, self._blocks, self._tasks = model, blocks, tasks
        self._prompts = [(*t.held_out, *t.fitted)[:_MOST] for t in tasks]
        self._own, self._divergences, self._features = [], [], []
        for task, prompts in zip(tasks, self._prompts, strict=True):
            model.adapter(task.adapter)
            own = self._log_probabilities(prompts)[0]
            model.base()
            base, states = self._log_probabilities(prompts)
            held = len(task.held_out)
            self._own.append(own[:held])
            self._divergences.append([divergence(p, q) for p, q in zip(own, base, strict=True)])
            self._features.append(
                torch.stack([s[0, p.start] for s, p in zip(states, prompts, strict=True)])
            )

    def inseparable(self) -> list[tuple[int, int, float]]:
        """Return the pairs of tasks that the base cannot distinguish by prompts, with the share."""
        pairs = []
        for i, j in combinations(range(len(self._tasks)), 2):
            share = separable(self._features[i], self._features[j])
            if share is not None and share < _APART:
                pairs.append((i, j, share))
        return pairs

    def qualities(self) -> tuple[TaskQuality, ...]:
        """Run the merged model on the held-out prompts and compare."""
        self._model.merged()
        results = []
        for task, own, before in zip(self._tasks, self._own, self._divergences, strict=True):
            whole = _mean(before)
            held = task.held_out[: len(own)]
            left = None
            if held:
                merged = self._log_probabilities(held)[0]
                after = [divergence(p, q) for p, q in zip(own, merged, strict=True)]
                left = _mean(after) / max(_mean(before[: len(held)]), 1e-9)
            results.append(TaskQuality(whole, left))
        return tuple(results)

    @torch.no_grad()
    def _log_probabilities(
        self, prompts: Sequence[AnsweredPrompt]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return log probabilities [answer, vocabulary] and the last states of every prompt."""
        stream = Stream.of([self._blocks.start(prompt.inputs) for prompt in prompts])
        for index in range(len(self._blocks)):
            with self._blocks.at(index):
                stream.step(self._blocks, index)
        logits = (
            self._blocks.finish(prompt.inputs, state, start)[prompt.positions].float()
            for prompt, state, start in zip(prompts, stream.states, stream.starts, strict=True)
        )
        return [each.log_softmax(-1).cpu() for each in logits], list(stream.states)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p ‖ q) at every position, of log probabilities [position, vocabulary]."""
    return (p.exp() * (p - q)).sum(-1).double()


def separable(a: Tensor, b: Tensor) -> float | None:
    """Return the share of rows that are nearest to the mean of the others of their own set.

    None where a set has fewer than two rows.
    """
    if min(len(a), len(b)) < 2:
        return None
    right = 0
    for own, other in ((a.double(), b.double()), (b.double(), a.double())):
        centroid, total = other.mean(0), own.sum(0)
        for row in own:
            rest = (total - row) / (len(own) - 1)
            right += int((row - rest).norm() < (row - centroid).norm())
    return right / (len(a) + len(b))


def _mean(values: Sequence[Tensor]) -> float:
    """Return the mean over all answer positions."""
    return float(torch.cat(list(values)).mean())
