r"""One walk through the model: every merged module makes up for what those before it broke.

Two streams run next to each other through the blocks: the adapters', each on its own prompts with
its own answers, and the merged model's, on the same prompts. For every set of modules that read one
input, in the order in which they run,

    x_i   the input in the merged model, with all modules before it merged
    y_i   what the module gives in the adapter's own run;
          for one that writes to the residual stream, the adapter's stream after it less the merged
          stream before it
    r_i   = y_i - (W0 x_i + b0)

`solve` finds the update with Σ c_i ‖r_i - Δ x_i‖² least at the output's rank, which is put into the
merged model before the next set is reached. The targets are asymmetric: what the first blocks
cannot do, since word embeddings do not distinguish tasks, is asked of the later ones. A rank cut
after the walk would undo that, so that the rank is part of the walk.

Prompts for which blocks are called alike run together (`stream`). The blocks are those of the
language model, of a vision tower, or a single module, with the same equations.

Cost: about 3 forward passes over all prompts in all adapters' models and as many in the merged one,
the sums S and P, and one solve per module. Memory: two streams of hidden states, [tokens, width]
for all prompts, and the targets of one adapter in one set of modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import few
from ..factors import Factors
from .anatomy import STREAM, BlockAnatomy, ModuleSet, observe
from .solve import Regression, Solution
from .stacks import BlockStack, BlockStart
from .stream import Bundle, Stream
from .switch import SwitchedModel
from .taps import Tap
from .weights import TokenWeights

Kept = Callable[[int], Mapping[str, Solution] | None]
"""Returns the solutions of a block that an interrupted walk had finished."""
Enough = Callable[[str], AbstractContextManager[None]]
"""Checks that there is memory for what the block does, which the argument names."""


@dataclass(frozen=True)
class WalkSettings:
    """What a walk is made with.

    Attributes:
        rank: The output's rank.
        ridge: As a share of the mean eigenvalue of the inputs' moments.
        shares: One weight per adapter.
        round_factors: Rounds factors to the type in which they are written, so that later modules
            make up for that, too.
    """

    rank: int
    ridge: float
    shares: Sequence[float]
    round_factors: Callable[[Factors], Factors]


class Walk:
    """The streams of all adapters' prompts, and what is solved so far."""

    def __init__(
        self,
        model: SwitchedModel,
        blocks: BlockStack,
        adapters: Sequence[str],
        weights: Sequence[TokenWeights],
        settings: WalkSettings,
        own: Sequence[Sequence[BlockStart]],
        merged: Sequence[Sequence[BlockStart]],
        enough: Enough,
    ) -> None:
        """Bring all prompts to the first block.

        Args:
            model: The model, with what is merged before the blocks and outside of them.
            blocks: Its blocks.
            adapters: The adapters' names in it.
            weights: Weights of their prompts' tokens.
            settings: What the walk is made with.
            own: Every adapter's prompts at the first block of its own model.
            merged: The same prompts at the first block of the merged model.
            enough: Names what memory was wanted for, where there is not enough.
        """
        self.model, self.blocks, self.adapters = model, blocks, adapters
        self.weights, self.settings, self.enough = weights, settings, enough
        self.own, self.merged = list(map(Stream.of, own)), list(map(Stream.of, merged))
        self.notes: dict[str, None] = {}

    def run(
        self, kept: Kept, done: Callable[[], None]
    ) -> Iterator[tuple[int, dict[str, Solution]]]:
        """Yield every block's solutions; the next block is reached when they are taken.

        Args:
            kept: Solutions of blocks that are there already.
            done: Called after every block.
        """
        for index in range(len(self.blocks)):
            with self.blocks.at(index):
                solutions = dict(kept(index) or {})
                for name, solution in solutions.items():
                    self.model.put(name, solution.factors)
                if not solutions:
                    solutions = self._solve_block(index)
                yield index, solutions
                if any(self.blocks.names[index + 1 :]):
                    with self.enough(f"{self.blocks.stem}.{index}"):
                        self._step(index)
            done()

    def _step(self, index: int) -> None:
        for adapter, own in zip(self.adapters, self.own, strict=True):
            self.model.adapter(adapter)
            own.step(self.blocks, index)
        self.model.merged()
        for merged in self.merged:
            merged.step(self.blocks, index)

    def _solve_block(self, index: int) -> dict[str, Solution]:
        if not self.blocks.names[index]:
            return {}
        number = next(n for n, own in enumerate(self.own) if own.states)
        self.model.adapter(self.adapters[number])
        first = self.own[number]
        anatomy = observe(
            self.blocks, index, self.model.layers, first.states[0], first.starts[0].calls[index]
        )
        solutions: dict[str, Solution] = {}
        self._note(anatomy)
        for each in anatomy.sets:
            solved = _SetOfModules(self, index, anatomy, each).solve()
            for name, solution in solved.items():
                self.model.put(name, solution.factors)
            solutions |= solved
        return solutions

    def _note(self, anatomy: BlockAnatomy) -> None:
        if anatomy.irregular:
            self.notes[
                "experts or other modules that do not get every token are merged by drift"
            ] = None
        if not (self.blocks.single or any(each.residuals for each in anatomy.sets)):
            self.notes[f"no module of {self.blocks.stem} adds to the residual stream as it is"] = (
                None
            )


class _SetOfModules:
    """The regressions of modules that read one input."""

    def __init__(self, walk: Walk, index: int, anatomy: BlockAnatomy, modules: ModuleSet) -> None:
        self.walk, self.index, self.anatomy, self.set = walk, index, anatomy, modules

    def solve(self) -> dict[str, Solution]:
        walk, device = self.walk, self.walk.blocks.device_of(self.index)
        sums = {}
        for name in self.set.names:
            base = walk.model.layers[name].get_base_layer()
            tokens = sum(int((w > 0).sum()) for each in walk.weights for w in each[name])
            with walk.enough(name):
                sums[name] = Regression(base.out_features, base.in_features, tokens, device)
        for number in range(len(walk.adapters)):
            with walk.enough(few(self.set.names)):
                self._add(sums, number)
        settings, solved = walk.settings, {}
        for name, each in sums.items():
            with walk.enough(name):
                solved[name] = self._rounded(each.solve(settings.ridge, settings.rank))
        return solved

    def _rounded(self, solution: Solution) -> Solution:
        return Solution(self.walk.settings.round_factors(solution.factors), solution.kept)

    @torch.no_grad()
    def _add(self, sums: Mapping[str, Regression], number: int) -> None:
        """Count one adapter's prompts."""
        walk, share = self.walk, self.walk.settings.shares[number]
        walk.model.adapter(walk.adapters[number])
        bundles = walk.own[number].bundles
        targets = [self._targets(number, members) for members in bundles]
        walk.model.merged()
        for members, wanted in zip(bundles, targets, strict=True):
            inputs, before = self._inputs(number, members)
            for name in self.set.names:
                c = self._weights(number, name, members).to(inputs.device)
                used = c.nonzero()[:, 0]
                if not len(used):
                    continue
                X, y = inputs.flatten(0, -2)[used].float(), wanted[name].to(inputs.device)
                if name in self.set.residuals:
                    y = y - before[name].flatten(0, -2)[used].float()
                base = walk.model.layers[name].get_base_layer()
                sums[name].add(X, y - _linear(base, X), c[used] * share)

    def _weights(self, number: int, name: str, members: Bundle) -> Tensor:
        """Return the weights of all tokens of some prompts: [prompt·tokens]."""
        return torch.cat([self.walk.weights[number][name][i] for i in members])

    def _targets(self, number: int, members: Bundle) -> dict[str, Tensor]:
        """Return what the modules are to give at tokens with a weight, in an adapter's own run."""
        after = {name: r.after for name, r in self.set.residuals.items()}
        plain = [name for name in self.set.names if name not in after]
        tap = self._tap({a for a in after.values() if a != STREAM}, plain, STREAM in after.values())
        output = self._run(tap, self.walk.own[number], members)
        values = {}
        for name in self.set.names:
            where = after.get(name)
            value = tap.values[name] if where is None else tap.inputs.get(where, output)
            used = self._weights(number, name, members).nonzero()[:, 0]
            values[name] = value.flatten(0, -2)[used.to(value.device)].float().cpu()
        return values

    def _inputs(self, number: int, members: Bundle) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the modules' input in the merged model, and the stream before those that write."""
        stream = self.walk.merged[number]
        before = {name: r.before for name, r in self.set.residuals.items()}
        tap = self._tap({self.set.names[0], *before.values()} - {STREAM}, (), False)
        self._run(tap, stream, members)
        inputs = tap.inputs[self.set.names[0]]
        start = stream.stacked(members).to(inputs.device)
        return inputs, {name: tap.inputs.get(where, start) for name, where in before.items()}

    def _tap(self, inputs: set[str], outputs: Sequence[str], whole: bool) -> Tap:
        return Tap(self.anatomy.modules, sorted(inputs), outputs, whole=whole)

    def _run(self, tap: Tap, stream: Stream, members: Bundle) -> Tensor:
        call = stream.starts[members[0]].calls[self.index]
        return tap.run(self.walk.blocks, self.index, stream.stacked(members), call)


def _linear(base: nn.Module, X: Tensor) -> Tensor:
    """Return W0 X + b0 in float32; a quantized layer computes in its own way."""
    weight = base.weight
    if isinstance(weight, Tensor) and weight.is_floating_point() and type(base) is nn.Linear:
        bias = None if base.bias is None else base.bias.float()
        return nn.functional.linear(X, weight.float(), bias)
    result: Tensor = base(X.to(torch.get_default_dtype()))
    return result.float()
