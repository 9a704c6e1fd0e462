r"""What runs before the language model's blocks, as stacks: vision tower and connector.

A walk goes through these first: a tower's numbered blocks are one stack, and every other linear
module of tower and connector is a stack by itself. The language model's walk then starts from what
the merged ones give. Tokens are those that a module gets there, such as patches of an image.

    fisher   c_i = mean over draws of ‖∂L / ∂y_i‖², as in `weights`: the gradients at what enters
             the language model's blocks, and at what is added between them, go back to the images
    masses   the same weight for every token, and so where no gradient comes through, as in a model
             that reads its images by cross-attention

A module is walked if it runs once in every prompt with an image. The gradients of one prompt go
back at a time, a tower's blocks recomputed one by one. Cost: for each prompt a pass of the tower,
and for each draw its way back with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..adapter import layout
from ..collect.layerwise import blocks as group_by_block
from ..collect.model import Batch, Layers
from .answers import AnsweredTask
from .blocks import LanguageBlocks
from .stacks import BlockStack, blocks_of, names_by_block, replace_forward
from .switch import SwitchedModel
from .taps import AfterForward

_PARTS = ("vision", "connector")


@dataclass(frozen=True)
class StartGradients:
    """Gradients at what a prompt brings to the language model's blocks.

    Attributes:
        hidden: At the first block's input. [draw, tokens, width]
        added: By block, at what the model adds after it. [draw, tokens, width]
    """

    hidden: Tensor
    added: Mapping[int, Tensor]


def early_modules(layers: Layers) -> tuple[str, ...]:
    """Return the adapted linear modules of vision tower and connector, in the model's order."""
    return tuple(
        name
        for name, layer in layers.items()
        if layout.tower(name) in _PARTS and hasattr(layer.get_base_layer(), "in_features")
    )


def early_stacks(
    model: SwitchedModel, blocks: LanguageBlocks, names: Sequence[str]
) -> tuple[BlockStack, ...]:
    """Return the stacks that modules are in, in the model's order.

    Args:
        model: The model.
        blocks: The language model's blocks.
        names: Modules of vision tower and connector.
    """
    stacks: dict[str, BlockStack] = {}
    for group in group_by_block(names):
        if group.number is not None and group.stem not in stacks:
            inside = blocks_of(model.model, group.stem)
            stacks[group.stem] = BlockStack(
                model.model,
                group.stem,
                inside,
                names_by_block(names, group.stem, len(inside)),
                blocks.inputs_on,
                keep=blocks.keep,
            )
        for name in group.modules if group.number is None else ():
            stacks[name] = BlockStack(
                model.model,
                name,
                [model.layers[name]],
                [(name,)],
                blocks.inputs_on,
                single=True,
                keep=blocks.keep,
            )
    return tuple(stacks.values())


def early_weights(
    model: SwitchedModel,
    blocks: LanguageBlocks,
    task: AnsweredTask,
    stacks: Sequence[BlockStack],
    gradients: Sequence[StartGradients],
) -> dict[str, list[Tensor]]:
    """Return the weights of an adapter's tokens in modules that run once with every image.

    A prompt without an image has none: its rows are empty.

    Args:
        model: The model.
        blocks: The language model's blocks.
        task: The adapter's prompts with answers.
        stacks: What runs before them.
        gradients: For every fitted prompt; none to weight all tokens alike.
    """
    model.adapter(task.adapter)
    layers = {name: model.layers[name] for stack in stacks for name in stack.adapted}
    passes = []
    blocks.returns_tuples(task.fitted[0].inputs)  # a pass that is not to be counted
    for number, prompt in enumerate(task.fitted):
        with _Squares(layers) as squares:
            if gradients:
                _go_back(blocks, stacks, prompt.inputs, gradients[number], squares)
            else:
                with torch.no_grad():
                    blocks.entries(prompt.inputs)
        passes.append(squares.rows)
    reached = [any(rows.values()) for rows in passes]
    return {
        name: _normalized([rows[name][0] if rows[name] else torch.zeros(0) for rows in passes])
        for name in layers
        if all(len(rows[name]) == int(by) for rows, by in zip(passes, reached, strict=True))
    }


def _normalized(rows: Sequence[Tensor]) -> list[Tensor]:
    """Return weights that sum to 1; all tokens alike where none has any."""
    total = sum(float(row.double().sum()) for row in rows)
    if total > 0:
        return [(row / total).float() for row in rows]
    tokens = sum(map(len, rows))
    return [torch.full((len(row),), 1 / max(tokens, 1)) for row in rows]


def _go_back(
    blocks: LanguageBlocks,
    stacks: Sequence[BlockStack],
    inputs: Batch,
    gradients: StartGradients,
    squares: _Squares,
) -> None:
    """Take gradients at the language model's blocks back to the images."""
    leaves = {
        name: value.detach().clone().requires_grad_()
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    with torch.enable_grad(), _recomputed(stacks):
        hidden = [entry[0] for entry in blocks.entries({**inputs, **leaves})]
        added = {index: hidden[index + 1] - hidden[index] for index in gradients.added}
    squares.listen = False  # blocks that are recomputed run again
    ends = [(hidden[0], gradients.hidden), *((added[n], g) for n, g in gradients.added.items())]
    ends = [(end, g) for end, g in ends if end.requires_grad]
    for draw in range(len(gradients.hidden) if ends and leaves else 0):
        torch.autograd.grad(
            [end for end, _ in ends],
            list(leaves.values()),
            [g[draw][None].to(end) for end, g in ends],
            retain_graph=True,
            allow_unused=True,
        )


@contextmanager
def _recomputed(stacks: Sequence[BlockStack]) -> Iterator[None]:
    """Have blocks keep their inputs alone for the way back, and run again then."""
    with ExitStack() as stack:
        for block in (block for each in stacks if not each.single for block in each.modules):
            again = partial(
                checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
            )
            stack.enter_context(replace_forward(block, again))
        yield


class _Squares(AfterForward):
    """Squares of gradients at modules' outputs, for each of their tokens.

    Attributes:
        rows: By module, for every time that it ran: the sums over gradients. [tokens]
        listen: Whether modules that run are counted.
    """

    def __init__(self, layers: Layers) -> None:
        self.rows: dict[str, list[Tensor]] = {name: [] for name in layers}
        self.listen = True
        super().__init__(layers)

    def _hook(self, name: str) -> Any:
        return partial(self._count, name)

    def _count(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self.listen:
            return
        row = torch.zeros(output.shape[:-1].numel())
        self.rows[name].append(row)

        def add(gradient: Tensor) -> None:
            row.add_(gradient.float().square().sum(-1).flatten().cpu())

        if output.requires_grad:
            output.register_hook(add)
