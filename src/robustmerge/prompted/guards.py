r"""What a walk says about its samples and its result, without labels.

    divergence   mean over answer positions of KL(adapter ‖ base), on the adapter's own answers
    left         mean KL(adapter ‖ merged) / mean KL(adapter ‖ base), on prompts that were held out
    apart        share of prompts whose nearest centroid is their own task's, of two tasks
    strays       prompts whose nearest centroid is another task's, of tasks that are apart, in the
                 metric of the prompts' own spread

Samples of another task ruin a walk, since inputs are how it distinguishes tasks. There an adapter
hardly differs from the base: on the laptop benchmark the divergence is above 1 on an adapter's own
prompts and below 0.6 on another task's in most cases. `left` is only meant for held-out prompts: on
the fitted ones it is near zero whatever they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from .answers import AnsweredPrompt, AnsweredTask
from .blocks import LanguageBlocks
from .stacks import BlockStart
from .stream import Stream
from .switch import SwitchedModel

SLIGHT = 1.0
"""Divergence below which an adapter's samples are probably not its own, in nats."""
_NONE = 1e-5
"""Divergence in nats that is rounding."""
_APART = 0.75
"""Share of prompts below which two tasks cannot be told apart; 0.5 is chance."""
_SHRUNK = 0.5
"""How far the spread of prompts is shrunk to an even one. On the laptop benchmark all of 24 foreign
prompts among 320 are noticed, and one other; at 0.1 16 and none, without the spread all and 19."""
_MOST = 16
"""Prompts of each adapter whose divergence is measured, the held-out ones first."""


@dataclass(frozen=True)
class TaskQuality:
    """What is known of one adapter's samples.

    Attributes:
        divergence: Of the adapter from the base on them, in nats for each answer position.
        left: Share of it that is left in the merged model, on held-out prompts; None without any,
            and where the adapter does there what the base does.
    """

    divergence: float
    left: float | None = None


@dataclass(frozen=True)
class StrayPrompt:
    """A prompt that resembles those of another adapter.

    Attributes:
        task: The number of its adapter.
        where: Its file and line.
        other: The number of the adapter whose prompts it resembles.
    """

    task: int
    where: str
    other: int


class Guard:
    """Logits of the adapters and of the base, with which the merged model is compared later."""

    def __init__(
        self, model: SwitchedModel, blocks: LanguageBlocks, tasks: Sequence[AnsweredTask]
    ) -> None:
        """Run the base on all prompts, and the adapters' models on a few of each."""
        self._model, self._blocks, self._tasks = model, blocks, tasks
        self._own, self._divergences, self._features = [], [], []
        for task in tasks:
            prompts = task.prompts
            model.adapter(task.adapter)
            own = self._log_probabilities(prompts[:_MOST], self._states(prompts[:_MOST]))
            model.base()
            states = self._states(prompts)
            base = self._log_probabilities(prompts[:_MOST], states[:_MOST])
            self._own.append(own[: len(task.held_out)])
            self._divergences.append([divergence(p, q) for p, q in zip(own, base, strict=True)])
            rows = [s[0, p.start].cpu() for (s, _), p in zip(states, prompts, strict=True)]
            self._features.append(torch.stack(rows))  # [prompt, d]

    @cached_property
    def inseparable(self) -> list[tuple[int, int, float]]:
        """The pairs of tasks that the base cannot distinguish by prompts, with the share."""
        pairs = []
        for i, j in combinations(range(len(self._tasks)), 2):
            share = separable(self._features[i], self._features[j])
            if share is not None and share < _APART:
                pairs.append((i, j, share))
        return pairs

    def strays(self) -> list[StrayPrompt]:
        """Return the prompts that the base takes for those of another task."""
        unlike = {(i, j) for i, j, _ in self.inseparable}
        return [
            StrayPrompt(task, self._tasks[task].prompts[row].where, other)
            for task, row, other in strays(self._features)
            if (min(task, other), max(task, other)) not in unlike
        ]

    def qualities(self) -> tuple[TaskQuality, ...]:
        """Run the merged model on the held-out prompts and compare."""
        self._model.merged()
        results = []
        for task, own, before in zip(self._tasks, self._own, self._divergences, strict=True):
            whole = _mean(before)
            held = task.held_out[: len(own)]
            left = None
            if held:
                merged = self._log_probabilities(held, self._states(held))
                after = [divergence(p, q) for p, q in zip(own, merged, strict=True)]
                held_before = _mean(before[: len(held)])
                left = _mean(after) / held_before if held_before > _NONE else None
            results.append(TaskQuality(whole, left))
        return tuple(results)

    @torch.no_grad()
    def _states(self, prompts: Sequence[AnsweredPrompt]) -> list[tuple[Tensor, BlockStart]]:
        """Return the last states of every prompt [1, token, d], and its start."""
        stream = Stream.of([self._blocks.start(prompt.inputs) for prompt in prompts])
        for index in range(len(self._blocks)):
            with self._blocks.at(index):
                stream.step(self._blocks, index)
        return list(zip(stream.states, stream.starts, strict=True))

    @torch.no_grad()
    def _log_probabilities(
        self, prompts: Sequence[AnsweredPrompt], states: Sequence[tuple[Tensor, BlockStart]]
    ) -> list[Tensor]:
        """Return the log probabilities of every prompt's answer [position, vocabulary]."""
        logits = (
            self._blocks.finish(prompt.inputs, state, start)[prompt.positions].float()
            for prompt, (state, start) in zip(prompts, states, strict=True)
        )
        return [each.log_softmax(-1).cpu() for each in logits]


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


def strays(features: Sequence[Tensor]) -> Iterator[tuple[int, int, int]]:
    """Yield the rows that are nearest to the mean of another set: their set, number, and that set.

    Distances are in the metric of the rows' own spread within the sets, half shrunk to that of all
    directions alike. A row is compared with the mean of the others of its own set.

    Args:
        features: The sets [row, d].
    """
    sets = _whitened([of.double() for of in features])
    means = torch.stack([of.mean(0) for of in sets])  # [set, q]
    for number, of in enumerate(sets):
        if len(of) < 2:
            continue
        for row, feature in enumerate(of):
            own = (means[number] * len(of) - feature) / (len(of) - 1)
            distances = (feature - means).norm(dim=1)
            distances[number] = (feature - own).norm()
            if (nearest := int(distances.argmin())) != number:
                yield number, row, nearest


def _whitened(sets: Sequence[Tensor]) -> list[Tensor]:
    """Return sets of rows in coordinates of their span in which their spread is even."""
    rows = torch.cat(list(sets))
    span = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2]  # [q, d]
    sets = [of @ span.T for of in sets]
    within = torch.cat([of - of.mean(0) for of in sets])
    spread, axes = torch.linalg.eigh(within.T @ within)
    if spread.sum() <= 0:
        return list(sets)
    scale = ((1 - _SHRUNK) * spread.clamp_min(0) + _SHRUNK * spread.mean()).rsqrt()
    return [of @ axes * scale for of in sets]


def _mean(values: Sequence[Tensor]) -> float:
    """Return the mean over all answer positions."""
    return float(torch.cat(list(values)).mean())
