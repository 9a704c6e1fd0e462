r"""How a block is built, from what happens in it: which modules read one input, which write.

    group      modules that get the same tensor: q, k, v; then o; gate, up; then down
    residual   a module whose output y is added to the stream as it is: before + y = after, where
               `before` is the block's input or the input of a module in it, and `after` the input
               of a later one or the block's output

Both are observed in one run of the block on one prompt, so that biases, grouped queries, plain and
gated MLPs need no names, nor do a vision tower's blocks. Where norms or scales stand between a
module and the stream (Gemma, InternVL's tower), or two branches are added at once, nothing is
found: such a module aims at the adapter's own output instead, as one outside of blocks does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..collect.model import Layers
from .stacks import BlockCall, BlockStack
from .taps import Tap

STREAM = ""
"""Stands for the block itself: its input as `before`, its output as `after`."""

_EXACT = 1e-3
"""Largest share of y by which before + y may differ from after: some roundings of bfloat16."""


@dataclass(frozen=True)
class Residual:
    """Where a module's output enters the stream, as names of modules in the block.

    Attributes:
        before: The module whose input is the stream without it, or STREAM.
        after: The module whose input is the stream with it, or STREAM.
    """

    before: str
    after: str


@dataclass(frozen=True)
class ModuleSet:
    """Adapted modules of a block that get the same input, in the order in which they run.

    Attributes:
        names: Canonical names.
        residuals: Of those whose output is added to the stream.
    """

    names: tuple[str, ...]
    residuals: Mapping[str, Residual]


@dataclass(frozen=True)
class BlockAnatomy:
    """A block's adapted modules.

    Attributes:
        sets: In the order in which they run.
        irregular: Adapted modules that do not get every token once, such as experts of a mixture.
        modules: The modules that the sets' names and residuals mean.
    """

    sets: tuple[ModuleSet, ...]
    irregular: tuple[str, ...]
    modules: Mapping[str, nn.Module]


@torch.no_grad()
def observe(
    blocks: BlockStack, index: int, layers: Layers, hidden: Tensor, call: BlockCall
) -> BlockAnatomy:
    """Run a block on one prompt and find its anatomy.

    Args:
        blocks: The blocks.
        index: The block's number.
        layers: The adapted layers of the model.
        hidden: The block's input.
        call: What else it is called with.
    """
    inside = {name: layers[name] for name in blocks.names[index]}
    modules = dict(_modules(blocks.modules[index], f"{blocks.stem}.{index}.")) | inside
    tap = Tap(modules, modules, inside, whole=True)
    output = tap.run(blocks, index, hidden, call)
    tokens = hidden.shape[:-1]
    regular = [
        name
        for name, value in tap.inputs.items()
        if name in inside and name in tap.values and (value.shape[:-1] == tokens or blocks.single)
    ]
    states = {STREAM: hidden.to(output)} | {
        name: value for name, value in tap.inputs.items() if value.shape == hidden.shape
    }
    sets = []
    for names in _by_input(regular, tap.inputs):
        residuals = {
            name: residual
            for name in names
            if (residual := _residual(tap.values[name], states, output)) is not None
        }
        sets.append(ModuleSet(tuple(names), residuals))
    return BlockAnatomy(tuple(sets), tuple(n for n in inside if n not in regular), modules)


def _modules(block: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the block's modules by name, but not what is inside of adapted layers."""
    for name, module in block.named_modules():
        if name and ".lora_" not in f".{name}" and "base_layer" not in name:
            yield prefix + name, module


def _by_input(names: Sequence[str], inputs: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Group modules that get the same tensor, in order."""
    groups: list[list[str]] = []
    for name in names:
        for group in groups:
            if inputs[group[0]] is inputs[name]:
                group.append(name)
                break
        else:
            groups.append([name])
    yield from groups


def _residual(y: Tensor, states: Mapping[str, Tensor], output: Tensor) -> Residual | None:
    """Find where y is added to the stream."""
    if not y.shape == output.shape == states[STREAM].shape:
        return None
    size = float(y.float().norm())
    names = list(states)
    for position, before in enumerate(names):
        sum_ = states[before] + y
        for after in [*names[position + 1 :], STREAM]:
            target = output if after == STREAM else states[after]
            if size and float((sum_ - target).float().norm()) <= _EXACT * size:
                return Residual(before, after)
    return None
