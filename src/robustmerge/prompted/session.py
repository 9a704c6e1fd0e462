"""The stages of RELAY on a live model: answers, token weights, walk, quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel
from torch import Tensor

from ..collect.gradients import image_tokens
from ..collect.model import adapted_layers
from ..collect.samples import Sample
from ..errors import enough_memory
from ..threads import Progress
from .answers import AnsweredTask, Encoder, NoiseEncoder, answer_task, hold_out
from .blocks import BlockStart, LanguageBlocks
from .guards import Guard, TaskQuality
from .solve import Solution
from .switch import SwitchedModel
from .unfinished import Unfinished
from .walk import Walk, WalkSettings
from .weights import TokenWeights, fisher, masses, prefix_length

_PASSES, _WALK = 2, 6
"""Steps of a block for one adapter: forward and backward for token weights; the walk, in passes."""


@dataclass(frozen=True)
class RelaySettings:
    """The parameters of the method relay, whose page says what they mean."""

    prompts: int
    held_out: int
    token_weights: str
    draws: int
    ridge: float
    answers: str
    longest: int
    images: str
    precision: str
    offload: bool
    seed: int


@dataclass(frozen=True)
class RelayResult:
    """A finished walk.

    Attributes:
        solutions: Of every adapted module, by canonical name.
        fitted: The modules that the walk solved; the others are merged by DRIFT.
        tasks: The prompts with their answers.
        qualities: What is known of each adapter's samples.
        inseparable: Pairs of adapters whose prompts cannot be told apart, and how well they can.
        notes: Remarks about the model.
    """

    solutions: Mapping[str, Solution]
    fitted: frozenset[str]
    tasks: tuple[AnsweredTask, ...]
    qualities: tuple[TaskQuality, ...]
    inseparable: tuple[tuple[int, int, float], ...]
    notes: tuple[str, ...]


class RelaySession:
    """A live model on which adapters are merged.

    Attributes:
        model: The model, which computes with an adapter or with what is merged.
    """

    def __init__(
        self,
        model: PeftModel,
        adapters: Sequence[str],
        settings: RelaySettings,
        *,
        device: torch.device,
        extras: Mapping[str, Tensor],
        work: Unfinished,
        less_memory: str,
    ) -> None:
        """Find the adapted layers and the blocks.

        Args:
            model: The model.
            adapters: The adapters' names in it.
            settings: Parameters of the method.
            device: Where blocks compute.
            extras: Merged fully trained parameters by canonical name.
            work: Keeps finished parts.
            less_memory: What needs less memory, for the error where there is not enough.

        Raises:
            MergeError: no adapter is on a block of the language model
        """
        layers = adapted_layers(model, adapters)
        self.model = SwitchedModel(model, layers, extras)
        self._adapters, self._settings, self._work = tuple(adapters), settings, work
        self._enough = partial(enough_memory, hint=less_memory)
        self._blocks = LanguageBlocks(model, list(layers), device, offload=settings.offload)
        self._inside = tuple(n for n in layers if n.startswith(f"{self._blocks.stem}."))

    def merge(
        self,
        samples: Sequence[Sequence[Sample]],
        encoder: Encoder,
        walk: WalkSettings,
        elsewhere: Callable[[str], Solution],
        progress: Progress,
    ) -> RelayResult:
        """Answer, weigh, walk, and measure; the model is afterwards as it was, after errors too.

        Args:
            samples: Of every adapter.
            encoder: Makes them inputs of the model.
            walk: What the walk is made with.
            elsewhere: Merges a module that the walk does not solve.
            progress: Called with the steps done and the steps to do.
        """
        with self.model.borrowed(), self._enough(self._blocks.stem):
            return self._merge(samples, encoder, walk, elsewhere, progress)

    def _merge(
        self,
        samples: Sequence[Sequence[Sample]],
        encoder: Encoder,
        walk: WalkSettings,
        elsewhere: Callable[[str], Solution],
        progress: Progress,
    ) -> RelayResult:
        count = len(self._adapters)
        steps = sum(map(len, samples)) + len(self._blocks) * count * (_PASSES + _WALK)
        self._steps = _Steps(progress, steps)
        tasks = self._answered(samples, encoder)
        guard = Guard(self.model, self._blocks, tasks)
        others = {n: elsewhere(n) for n in self.model.layers if n not in self._inside}
        for name, solution in others.items():
            self.model.put(name, solution.factors)
        starts = [self._starts(task) for task in tasks]
        weights = self._weights(tasks, starts)
        walking = Walk(self.model, self._blocks, tasks, weights, walk, starts, self._enough)
        solutions = dict[str, Solution]()
        for index, solved in walking.run(self._work.block, lambda: self._steps(count * _WALK)):
            for name in self._missed(index, solved):
                others[name] = elsewhere(name)
                self.model.put(name, others[name].factors)
            self._work.keep_block(index, solved)
            solutions |= solved
        return RelayResult(
            {**others, **solutions},
            frozenset(solutions),
            tasks,
            guard.qualities(),
            tuple(guard.inseparable()),
            tuple(walking.notes),
        )

    def _missed(self, index: int, solved: Mapping[str, Solution]) -> list[str]:
        """Return a block's adapted modules that the walk cannot solve."""
        prefix = f"{self._blocks.stem}.{index}."
        return [name for name in self._inside if name.startswith(prefix) and name not in solved]

    def _answered(
        self, samples: Sequence[Sequence[Sample]], encoder: Encoder
    ) -> tuple[AnsweredTask, ...]:
        settings, tasks = self._settings, []
        if settings.images == "noise":
            encoder = NoiseEncoder(encoder, settings.seed)
        for number, (adapter, own) in enumerate(zip(self._adapters, samples, strict=True)):
            fitted, held = hold_out(len(own), settings.prompts, settings.held_out)
            self.model.adapter(adapter)
            with self._enough(f"answers of adapter {number + 1}"):
                task = answer_task(
                    self.model.model,
                    adapter,
                    own[: fitted + held],
                    encoder,
                    fitted=fitted,
                    longest=settings.longest,
                    answers_known=settings.answers == "samples",
                    tokens=self._work.answers(number),
                    done=self._steps,
                )
            self._work.keep_answers(
                number, [p.answer.tolist() for p in (*task.fitted, *task.held_out)]
            )
            tasks.append(task)
        return tuple(tasks)

    def _starts(self, task: AnsweredTask) -> list[BlockStart]:
        self.model.adapter(task.adapter)
        return [self._blocks.start(prompt.inputs) for prompt in task.fitted]

    def _weights(
        self, tasks: Sequence[AnsweredTask], starts: Sequence[Sequence[BlockStart]]
    ) -> list[TokenWeights]:
        skip = prefix_length(tasks, image_tokens(self.model.model))
        weights = []
        for number, task in enumerate(tasks):
            own = self._work.weights(number)
            if not own:
                with self._enough(f"token weights of adapter {number + 1}"):
                    own = self._weights_of(number, task, starts[number], skip)
            self._work.keep_weights(number, own)
            weights.append(own)
        return weights

    def _weights_of(
        self, number: int, task: AnsweredTask, starts: Sequence[BlockStart], skip: int
    ) -> TokenWeights:
        settings = self._settings
        if settings.token_weights == "masses":
            return masses(self.model, self._blocks, task, self._inside, skip)
        return fisher(
            self.model,
            self._blocks,
            task,
            self._inside,
            skip,
            draws=settings.draws,
            seed=settings.seed + 100_000 * number,
            starts=starts,
            done=self._steps,
        )


class _Steps:
    """Counts steps."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self, steps: int = 1) -> None:
        self._done += steps
        self._progress(min(self._done, self._total), self._total)
