"""The stages of RELAY on a live model: answers, token weights, walk, quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
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
from .answers import AnsweredPrompt, AnsweredTask, Encoder, NoiseEncoder, answer_task, hold_out
from .blocks import LanguageBlocks
from .early import StartGradients, early_modules, early_stacks, early_weights
from .guards import Guard, StrayPrompt, TaskQuality
from .keep import Keep, on_disk, on_host
from .solve import Solution
from .stacks import BlockStack, BlockStart
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
    activations: str
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
        strays: Prompts that resemble those of another adapter.
        notes: Remarks about the model.
    """

    solutions: Mapping[str, Solution]
    fitted: frozenset[str]
    tasks: tuple[AnsweredTask, ...]
    qualities: tuple[TaskQuality, ...]
    inseparable: tuple[tuple[int, int, float], ...]
    strays: tuple[StrayPrompt, ...]
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
            MergeError: the model has no blocks of a language model
        """
        layers = adapted_layers(model, adapters)
        self.model = SwitchedModel(model, layers, extras)
        self._adapters, self._settings, self._work = tuple(adapters), settings, work
        self._enough = partial(enough_memory, hint=less_memory)
        self._blocks = LanguageBlocks(
            model, list(layers), device, offload=settings.offload, keep=self._keep()
        )
        self._early = early_stacks(self.model, self._blocks, early_modules(layers))

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
        count, early = len(self._adapters), sum(map(len, self._early))
        per_adapter = (_PASSES + _WALK) * len(self._blocks) + _WALK * early
        self._steps = _Steps(progress, sum(map(len, samples)) + count * per_adapter)
        tasks = self._answered(samples, encoder)
        guard = Guard(self.model, self._blocks, tasks)
        starts = [self._starts(self._blocks, task.adapter, task.fitted) for task in tasks]
        weights = self._weights(tasks, starts)
        stacks = self._stacks(weights)
        inside = {name for stack in stacks for name in stack.adapted}
        solutions = self._solve_elsewhere(elsewhere, set(self.model.layers) - inside)
        fitted, notes, finished = set[str](), dict[str, None](), 0
        for stack in stacks:
            own = starts if stack is self._blocks else None
            walking = self._walk(stack, tasks, weights, walk, own)
            kept = partial(self._kept, finished)
            for index, solved in walking.run(kept, lambda: self._steps(count * _WALK)):
                missed = set(stack.names[index]) - set(solved)
                solutions |= solved | self._solve_elsewhere(elsewhere, missed)
                self._work.keep_block(finished + index, solved)
                fitted |= set(solved)
            notes |= walking.notes
            finished += len(stack)
        return RelayResult(
            solutions,
            frozenset(fitted),
            tasks,
            guard.qualities(),
            tuple(guard.inseparable),
            tuple(guard.strays()),
            tuple(notes),
        )

    def _keep(self) -> Keep:
        if self._settings.activations == "host":
            return on_host
        assert self._work.folder is not None  # checked before the model is loaded
        return on_disk(self._work.folder)

    def _kept(self, finished: int, index: int) -> Mapping[str, Solution] | None:
        return self._work.block(finished + index)

    def _solve_elsewhere(
        self, elsewhere: Callable[[str], Solution], names: Set[str]
    ) -> dict[str, Solution]:
        """Merge modules that the walk does not solve, in the model's order."""
        solutions = {name: elsewhere(name) for name in self.model.layers if name in names}
        for name, solution in solutions.items():
            self.model.put(name, solution.factors)
        return solutions

    def _stacks(self, weights: Sequence[TokenWeights]) -> list[BlockStack]:
        """Return what is walked through: early modules that run once with every image, blocks."""
        names = [
            name
            for stack in self._early
            for name in stack.adapted
            if all(name in own for own in weights)
            and any(len(row) for own in weights for row in own[name])
        ]
        stacks = [*early_stacks(self.model, self._blocks, names), self._blocks]
        return [stack for stack in stacks if stack.adapted]

    def _walk(
        self,
        stack: BlockStack,
        tasks: Sequence[AnsweredTask],
        weights: Sequence[TokenWeights],
        settings: WalkSettings,
        own: Sequence[Sequence[BlockStart]] | None,
    ) -> Walk:
        """Bring the prompts that reach a stack to its first block.

        Args:
            stack: The stack.
            tasks: The adapters' prompts.
            weights: Of their tokens; a prompt without tokens in a module does not reach it.
            settings: What the walk is made with.
            own: Every adapter's prompts in its own model, if they are there already.
        """
        first = stack.adapted[0]
        reached = [[n for n, row in enumerate(w[first]) if len(row)] for w in weights]
        pairs = list(zip(tasks, reached, strict=True))
        prompts = [[task.fitted[n] for n in numbers] for task, numbers in pairs]
        if own is None:
            own = [
                self._starts(stack, task.adapter, each)
                for task, each in zip(tasks, prompts, strict=True)
            ]
        self.model.merged()
        return Walk(
            self.model,
            stack,
            [task.adapter for task in tasks],
            [
                {name: [of[name][n] for n in numbers] for name in stack.adapted}
                for of, numbers in zip(weights, reached, strict=True)
            ],
            settings,
            own,
            [[stack.start(prompt.inputs) for prompt in each] for each in prompts],
            self._enough,
        )

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

    def _starts(
        self, stack: BlockStack, adapter: str, prompts: Sequence[AnsweredPrompt]
    ) -> list[BlockStart]:
        """Bring prompts to a stack in an adapter's own model."""
        self.model.adapter(adapter)
        return [stack.start(prompt.inputs) for prompt in prompts]

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
        settings, gradients = self._settings, list[StartGradients]()
        if settings.token_weights == "masses":
            weights = masses(self.model, self._blocks, task, skip)
        else:
            weights, gradients = fisher(
                self.model,
                self._blocks,
                task,
                skip,
                draws=settings.draws,
                seed=settings.seed + 100_000 * number,
                starts=starts,
                done=self._steps,
            )
        if not self._early:
            return weights
        return {
            **weights,
            **early_weights(self.model, self._blocks, task, self._early, gradients),
        }


class _Steps:
    """Counts steps."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self, steps: int = 1) -> None:
        self._done += steps
        self._progress(min(self._done, self._total), self._total)
