"""A set of experts with prompts of their tasks, and the steps on a rival's coefficients."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

import robustmerge
from robustmerge.factors import Factors
from robustmerge.polish.batches import TaskSchedule
from robustmerge_bench.item import Item
from robustmerge_bench.mini.student import MiniModel

from .live import CoefficientModel
from .losses import entropy
from .prompts import PromptRows, embed
from .rivals import START, Measures, Rival
from .weighted import FORMS, row_space


@dataclass(frozen=True)
class Learned:
    """A merge after some steps.

    Attributes:
        steps: The steps.
        factors: Every module's update.
        held_out: The loss on prompts that no step has seen.
        moved: Mean absolute change of the coefficients.
        cpu_seconds: Processor time of the steps.
    """

    steps: int
    factors: Mapping[str, Factors]
    held_out: float
    moved: float
    cpu_seconds: float


class LearningSet:
    """One set of experts with prompts, of which the last of every task are held out.

    Attributes:
        measures: What losses compare with.
    """

    def __init__(
        self,
        model: MiniModel,
        experts: Sequence[Path],
        start: Path,
        items: Sequence[Sequence[Item]],
        held_out: int,
    ) -> None:
        """Read the updates and run every expert once on its prompts.

        Args:
            model: The base in float32; it is left as it is.
            experts: Adapter folders.
            start: A merge of them, for its projector.
            items: As many prompts of every task.
            held_out: How many of them are held out.
        """
        self._model = model
        adapters = [robustmerge.load(folder) for folder in experts]
        self._updates = {
            name: [adapter.factors(name) for adapter in adapters] for name in adapters[0].modules
        }
        self._fitted = len(items[0]) - held_out
        with model.using(start):
            self._prompts = embed(model, items)
        bases = {
            name: torch.stack([row_space(update) for update in updates])
            for name, updates in self._updates.items()
        }
        fitted = [some[: self._fitted] for some in items]
        entropies = torch.tensor(
            [_mean_entropy(model, *pair) for pair in zip(experts, fitted, strict=True)]
        )
        self.measures = Measures(bases, entropies, len(model.model.model.language_model.layers))

    def learn(
        self, rival: Rival, rate: float, looks: Sequence[int], seed: int = 0
    ) -> Iterator[Learned]:
        """Take AdamW's steps up to the last of `looks`, and yield the merge at each of them."""
        updates = {name: FORMS[rival.form](some) for name, some in self._updates.items()}
        model = CoefficientModel(self._model, updates, START)
        optimizer = torch.optim.AdamW(model.coefficients.values(), rate)
        tasks = len(self.measures.entropies)
        order = TaskSchedule([self._fitted] * tasks, rival.each, seed)
        spent, begun = 0.0, time.process_time()
        for step, chosen in enumerate(islice(order, looks[-1]), 1):
            loss = rival.loss(model, self._rows(chosen), self.measures)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step in looks:
                spent += time.process_time() - begun
                yield self._look(model, rival, step, spent)
                begun = time.process_time()

    @torch.no_grad()
    def _look(self, model: CoefficientModel, rival: Rival, step: int, spent: float) -> Learned:
        tasks, all_of = range(len(self.measures.entropies)), self._fitted + self._held_out
        rows = self._rows([(t, n) for t in tasks for n in range(self._fitted, all_of)])
        values = torch.cat([value.flatten() for value in model.coefficients.values()])
        moved = float((values - START).abs().mean())
        held_out = float(rival.loss(model, rows, self.measures))
        return Learned(step, model.factors(), held_out, moved, round(spent, 1))

    @property
    def _held_out(self) -> int:
        return len(self._prompts.last) // len(self.measures.entropies) - self._fitted

    def _rows(self, chosen: Sequence[tuple[int, int]]) -> PromptRows:
        each = self._fitted + self._held_out
        return self._prompts.rows([task * each + number for task, number in chosen])


@torch.no_grad()
def _mean_entropy(model: MiniModel, expert: Path, items: Sequence[Item]) -> float:
    """Return the mean entropy of an expert's first answer token on its own prompts."""
    with model.using(expert):
        prompts = embed(model, [items])
        plain = CoefficientModel(model, {}, 0.0)
        return float(entropy(plain.logits(prompts, plain.run(prompts))).mean())
