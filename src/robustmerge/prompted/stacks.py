"""Stacks of blocks one by one, on the real modules, with the masks and angles they get there.

A pass in which every block hands on what it gets (a *skeleton* pass) shows what each block is
called with, besides the hidden states, and what the model adds between two blocks (Qwen3-VL's
deepstack). Afterwards any hidden states can be taken through any block. No arithmetic of any family
is repeated here. A skeleton pass costs what the model runs before the last block, and ends there.

A stack is the decoder, a vision tower, or a single module, such as a linear layer of the connector:
its input is the stream then, and nothing follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..adapter import layout
from ..collect.model import Batch
from ..errors import MergeError
from .keep import Keep, on_host

CPU = torch.device("cpu")

Entry = tuple[Tensor, tuple[Any, ...], Mapping[str, Any]]
"""What a block is called with: hidden states, further arguments, keywords."""
Replacement = Callable[[int, Tensor, tuple[Any, ...], Any], Tensor]
"""Stands for every block's forward pass: gets its number and what it is called with."""


@dataclass(frozen=True)
class BlockCall:
    """What a block is called with for one prompt, hidden states excluded; on the host.

    Attributes:
        args: Further positional arguments.
        kwargs: Keywords: masks, rotary embeddings and so on.
        added: What the model adds to the block's output, None for nothing; as hidden states.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    added: Tensor | None = None


@dataclass(frozen=True)
class BlockStart:
    """A prompt at the first block.

    Attributes:
        hidden: The first block's input on the host. [1, tokens, width] in a language model;
            [images, tokens, width] or [tokens, width] in towers
        calls: One for each block.
    """

    hidden: Tensor
    calls: tuple[BlockCall, ...]


class BlockStack:
    """Blocks that a model runs once each, in their order.

    Attributes:
        model: The model, in evaluation mode.
        stem: The blocks' common name; a single module's own.
        modules: The blocks.
        names: For each block, its adapted modules by canonical name.
        inputs_on: Where the model takes its inputs.
        single: Whether it is a single module, which need not keep its stream's tokens.
        keep: Keeps hidden states.
    """

    def __init__(
        self,
        model: PeftModel,
        stem: str,
        modules: Sequence[nn.Module],
        names: Sequence[tuple[str, ...]],
        inputs_on: torch.device,
        *,
        single: bool = False,
        keep: Keep = on_host,
    ) -> None:
        """Take note of the blocks.

        Args:
            model: The model, in evaluation mode.
            stem: The blocks' common name.
            modules: The blocks.
            names: For each block, its adapted modules by canonical name.
            inputs_on: Where the model takes its inputs.
            single: Whether it is a single module.
            keep: Keeps hidden states.
        """
        self.model, self.stem, self.single = model, stem, single
        self.modules: tuple[nn.Module, ...] = tuple(modules)
        self.names: tuple[tuple[str, ...], ...] = tuple(names)
        self.inputs_on, self.keep = inputs_on, keep
        self._tuples: bool | None = False if single else None

    def __len__(self) -> int:
        return len(self.modules)

    @property
    def adapted(self) -> tuple[str, ...]:
        """The adapted modules of all blocks."""
        return tuple(name for block in self.names for name in block)

    @torch.no_grad()
    def start(self, inputs: Batch) -> BlockStart:
        """Run the model up to the blocks.

        Raises:
            MergeError: not every block runs, or some run more than once
        """
        entries = self.entries(inputs)
        if len(entries) != len(self):
            raise MergeError(
                f"{len(entries)} of {len(self)} blocks run in one pass of the model",
                where=self.stem,
                hint="relay needs blocks that run once each, in their order; merge by a method "
                "that needs no model",
            )
        calls = []
        for (hidden, args, kwargs), after in zip(entries, [*entries[1:], None], strict=True):
            added = None if after is None or torch.equal(after[0], hidden) else after[0] - hidden
            calls.append((args, dict(kwargs), added))
        on_host = move(calls, CPU, {})  # blocks share their masks and angles
        return BlockStart(self.keep(entries[0][0]), tuple(BlockCall(*call) for call in on_host))

    def entries(self, inputs: Batch) -> list[Entry]:
        """Return what every block is called with in a skeleton pass, on the device."""
        seen: list[Entry] = []

        def note(index: int, hidden: Tensor, args: tuple[Any, ...], kwargs: Any) -> Tensor:
            seen.append((hidden, args, kwargs))
            if index == len(self) - 1:
                raise _EnoughError
            return hidden.clone()  # some models add to it in place

        with self._skeleton(inputs, note), suppress(_EnoughError):
            self._call(inputs)
        return seen

    def run(self, index: int, hidden: Tensor, call: BlockCall) -> Tensor:
        """Run a block on hidden states; return its own output, on the device.

        Args:
            index: The block's number.
            hidden: Of one prompt, or of several for which the block is called alike.
                [prompt, tokens, width]
            call: What else it is called with, for one of them.
        """
        block = self.modules[index]
        args, kwargs = move((call.args, dict(call.kwargs)), self.device_of(index))
        args, kwargs = _repeated((args, kwargs), len(hidden) if hidden.ndim == 3 else 1)
        output = block(hidden.to(self.device_of(index)), *args, **kwargs)
        state: Tensor = output[0] if isinstance(output, tuple) else output
        return state

    def step(self, index: int, hidden: Tensor, call: BlockCall) -> Tensor:
        """Return the hidden states that the next block gets, on the device."""
        output = self.run(index, hidden, call)
        return output if call.added is None else output + call.added.to(output)

    @contextmanager
    def at(self, index: int) -> Iterator[nn.Module]:
        """Have a block on the device."""
        yield self.modules[index]

    def device_of(self, index: int) -> torch.device:
        """Return the device that a block computes on, of a model on several."""
        weight: Tensor = next(self.modules[index].parameters())
        return weight.device

    def _call(self, inputs: Batch) -> Any:
        return self.model(**move(dict(inputs), self.inputs_on))

    @contextmanager
    def _skeleton(self, inputs: Batch, replacement: Replacement) -> Iterator[None]:
        """Put a function in the place of every block's forward pass; `inputs` are any."""
        tuples = self.returns_tuples(inputs)
        with ExitStack() as stack:
            for index, block in enumerate(self.modules):

                def forward(*args: Any, _index: int = index, **kwargs: Any) -> Any:
                    first = kwargs.pop("hidden_states", None)
                    hidden, rest = (args[0], args[1:]) if first is None else (first, args)
                    output = replacement(_index, hidden, rest, kwargs)
                    return (output,) if tuples else output

                stack.enter_context(replace_forward(block, forward))
            yield

    def returns_tuples(self, inputs: Batch) -> bool:
        """Return whether blocks return tuples, as some families' do; the first is run, once."""
        if self._tuples is not None:
            return self._tuples

        def stop(block: nn.Module, args: Any, output: Any) -> None:
            self._tuples = isinstance(output, tuple)
            raise _EnoughError

        handle = self.modules[0].register_forward_hook(stop)
        with self.at(0), suppress(_EnoughError), torch.no_grad():
            self._call(inputs)
        handle.remove()
        return bool(self._tuples)


def blocks_of(model: PeftModel, stem: str) -> tuple[nn.Module, ...]:
    """Return the blocks of a list in the model, by its canonical name."""
    named = model.get_base_model().named_modules()
    return tuple(next(m for n, m in named if layout.canonical(n) == stem).children())


def names_by_block(names: Sequence[str], stem: str, count: int) -> list[tuple[str, ...]]:
    """Return the modules that are in each of `count` blocks."""
    return [
        tuple(name for name in names if name.startswith(f"{stem}.{index}."))
        for index in range(count)
    ]


class _EnoughError(Exception):
    """Ends a pass early."""


@contextmanager
def replace_forward(module: nn.Module, function: Callable[..., Any]) -> Iterator[None]:
    """Put a function in the place of a module's forward pass, hooks excluded."""
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = function
    try:
        yield
    finally:
        if before is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before


def move(value: Any, device: torch.device, moved: dict[int, Tensor] | None = None) -> Any:
    """Return nested tuples, lists and dictionaries with their tensors on a device.

    Args:
        value: What they are in.
        device: The device.
        moved: Copies by the ids of what was copied: a tensor that occurs again is not copied again.
            None for nothing.
    """
    moved = {} if moved is None else moved
    if isinstance(value, Tensor):
        if id(value) not in moved:
            moved[id(value)] = value.to(device)
        return moved[id(value)]
    if isinstance(value, dict):
        return {name: move(each, device, moved) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(move(each, device, moved) for each in value)
    return value


def _repeated(value: Any, prompts: int) -> Any:
    """Return nested tuples, lists and dictionaries with tensors of one prompt for several."""
    if prompts == 1:
        return value
    if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == 1:
        return value.expand(prompts, *value.shape[1:])
    if isinstance(value, dict):
        return {name: _repeated(each, prompts) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_repeated(each, prompts) for each in value)
    return value
