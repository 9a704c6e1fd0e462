"""Sequences of different lengths as one input of the model, and the order in which they come.

    s s s a a        shorter sequences are filled up on the right by their own last token, under a
    s s a a a a      mask of zeros: a causal model never sees it from the tokens before
    ^ ^
    start            logits are computed from the earliest answer position on

Images, and whatever else is not one number per token, are joined along their first axis, as
processors do it; sequences whose inputs do not fit together are groups of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..prompted.answers import AnsweredPrompt

_KEEP = "logits_to_keep"
"""The argument by which models of transformers skip the head at tokens before the last ones."""


@dataclass(frozen=True)
class TaskSchedule:
    """Which prompts every step sees: as many of each task, each task's in passes of new order.

    Attributes:
        counts: Prompts of every task.
        each: Prompts of a task in a step.
        seed: For the orders.
    """

    counts: Sequence[int]
    each: int
    seed: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the (task, prompt) of every step, without end."""
        orders = [self._order(task) for task in range(len(self.counts))]
        while True:
            yield [(t, next(order)) for t, order in enumerate(orders) for _ in range(self.each)]

    def _order(self, task: int) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + task)
        while True:
            yield from torch.randperm(self.counts[task], generator=generator).tolist()


def answer_logits(
    model: nn.Module, prompts: Sequence[AnsweredPrompt], device: torch.device
) -> list[Tensor]:
    """Run the model once and return every prompt's logits at its answer positions.

    Args:
        model: The model.
        prompts: Sequences that go together, as `groups` returns them.
        device: Where the model is.

    Returns:
        Of every prompt [answer, vocabulary], in the model's type.
    """
    inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in join(prompts).items()}
    length = inputs["input_ids"].shape[1]
    first = min(prompt.start for prompt in prompts)
    if _skips_logits(model):
        inputs[_KEEP] = length - first
    logits = model(**inputs).logits
    first = length - logits.shape[1]  # 0 where all logits were computed
    return [
        row[prompt.start - first : prompt.length - first]
        for row, prompt in zip(logits, prompts, strict=True)
    ]


def join(prompts: Sequence[AnsweredPrompt]) -> dict[str, Any]:
    """Return sequences as one batch, the shorter ones filled up on the right."""
    longest = max(prompt.length for prompt in prompts)
    joined: dict[str, Any] = {}
    for name, first in prompts[0].inputs.items():
        if isinstance(first, Tensor):
            joined[name] = torch.cat([_filled(prompt, name, longest) for prompt in prompts])
        else:
            joined[name] = first
    ids = prompts[0].inputs["input_ids"]
    if "attention_mask" not in joined and any(p.length < longest for p in prompts):
        rows = [torch.arange(longest) < prompt.length for prompt in prompts]
        joined["attention_mask"] = torch.stack(rows).to(ids.dtype)
    return joined


def groups(prompts: Sequence[AnsweredPrompt], most: int) -> list[list[int]]:
    """Divide prompts into groups of at most `most` that can be joined; return their numbers."""
    alike: dict[object, list[int]] = {}
    for number, prompt in enumerate(prompts):
        alike.setdefault(_signature(prompt), []).append(number)
    return [
        numbers[start : start + most]
        for numbers in alike.values()
        for start in range(0, len(numbers), most)
    ]


def _filled(prompt: AnsweredPrompt, name: str, length: int) -> Tensor:
    value: Tensor = prompt.inputs[name]
    ids = prompt.inputs["input_ids"]
    if value.shape != ids.shape:
        return value
    missing = length - prompt.length
    fill = int(ids[0, -1]) if name == "input_ids" else 0
    return nn.functional.pad(value, (0, missing), value=fill)


def _signature(prompt: AnsweredPrompt) -> tuple[object, ...]:
    """Return what inputs must have in common to be joined."""
    ids = prompt.inputs["input_ids"]

    def kind(value: Any) -> object:
        if not isinstance(value, Tensor):
            return value
        return "tokens" if value.shape == ids.shape else tuple(value.shape[1:])

    return tuple((name, kind(value)) for name, value in sorted(prompt.inputs.items()))


def _skips_logits(model: nn.Module) -> bool:
    inner = getattr(model, "get_base_model", lambda: model)()
    return _KEEP in inspect.signature(inner.forward).parameters
