"""The decoder's blocks one by one, on the real modules, with the masks and angles they get there.

A pass in which every block hands on what it gets (a *skeleton* pass) shows what each block is
called with, besides the hidden states, and what the model adds between two blocks (Qwen3-VL's
deepstack). Afterwards any hidden states can be taken through any block, and what follows the last
block runs in a second skeleton pass that ends with these hidden states. No arithmetic of any family
is repeated here. A skeleton pass costs the vision tower, the embeddings and the head.

One block at a time is on the device where the model as a whole is not (`offload`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..adapter import layout
from ..collect.layerwise import blocks as group_by_block
from ..collect.model import Batch
from ..errors import MergeError, few

CPU = torch.device("cpu")
_ALL = -1
_TEXT = ("input_ids", "attention_mask", "use_cache")


@dataclass(frozen=True)
class BlockCall:
    """What a block is called with for one prompt, hidden states excluded; on the host.

    Attributes:
        args: Further positional arguments.
        kwargs: Keywords: masks, rotary embeddings and so on.
        added: What the model adds to the block's output, None for nothing. [1, tokens, width]
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    added: Tensor | None = None


@dataclass(frozen=True)
class BlockStart:
    """A prompt at the first block.

    Attributes:
        hidden: The first block's input on the host. [1, tokens, width]
        calls: One for each block.
    """

    hidden: Tensor
    calls: tuple[BlockCall, ...]


class LanguageBlocks:
    """The blocks of a model's language model."""

    def __init__(
        self, model: PeftModel, names: Sequence[str], device: torch.device, *, offload: bool = False
    ) -> None:
        """Find the blocks.

        Args:
            model: The model, in evaluation mode.
            names: Canonical names of its adapted modules.
            device: Where blocks compute.
            offload: Whether the blocks stay on the host and come to the device one at a time.

        Raises:
            MergeError: no adapted module is in a block of the language model
        """
        self.model, self.device, self.offload = model, device, offload
        self.stem = _stem(names)
        modules = {layout.canonical(n): m for n, m in model.get_base_model().named_modules()}
        self.modules: tuple[nn.Module, ...] = tuple(modules[self.stem].children())
        self._tuples: bool | None = None
        self._held: int | None = None
        if offload:
            self._leave_blocks_on_host()

    def __len__(self) -> int:
        return len(self.modules)

    def name(self, index: int, inner: str) -> str:
        """Return the canonical name of a module in a block."""
        return f"{self.stem}.{index}.{inner}"

    @torch.no_grad()
    def start(self, inputs: Batch) -> BlockStart:
        """Run the model up to its blocks."""
        seen: list[tuple[Tensor, tuple[Any, ...], Mapping[str, Any]]] = []

        def note(index: int, hidden: Tensor, args: tuple[Any, ...], kwargs: Any) -> Tensor:
            seen.append((hidden, args, kwargs))
            return hidden.clone()  # some models add to it in place

        with self._skeleton(inputs, note):
            self._call(inputs)
        if len(seen) != len(self):
            raise MergeError(
                f"{len(seen)} of {len(self)} blocks run in one pass of the model",
                where=self.stem,
                hint="relay needs blocks that run once each, in their order; merge by a method "
                "that needs no model",
            )
        calls = []
        for (hidden, args, kwargs), after in zip(seen, [*seen[1:], None], strict=True):
            added = None if after is None or torch.equal(after[0], hidden) else after[0] - hidden
            calls.append(BlockCall(*_moved((args, dict(kwargs), added), CPU)))
        return BlockStart(seen[0][0].to(CPU), tuple(calls))

    def run(self, index: int, hidden: Tensor, call: BlockCall) -> Tensor:
        """Run a block on hidden states; return its own output, on the device.

        Args:
            index: The block's number.
            hidden: Of one prompt, or of several for which the block is called alike.
                [prompt, tokens, width]
            call: What else it is called with, for one of them.
        """
        block = self.modules[index]
        args, kwargs = _moved((call.args, dict(call.kwargs)), self.device_of(index))
        args, kwargs = _repeated((args, kwargs), len(hidden))
        output = block(hidden.to(self.device_of(index)), *args, **kwargs)
        state: Tensor = output[0] if isinstance(output, tuple) else output
        return state

    def step(self, index: int, hidden: Tensor, call: BlockCall) -> Tensor:
        """Return the hidden states that the next block gets, on the device."""
        output = self.run(index, hidden, call)
        return output if call.added is None else output + call.added.to(output)

    def finish(self, inputs: Batch, hidden: Tensor, start: BlockStart) -> Tensor:
        """Return the logits [tokens, vocabulary] after the last block's output.

        Images are left out of this pass, since nothing of what enters the first block is used,
        unless the model adds them again further up, or has blocks that run for them alone.
        """
        adds = any(call.added is not None for call in start.calls)
        text = {n: inputs[n] for n in _TEXT if n in inputs}
        if not adds and (logits := self._logits_after(text, hidden)) is not None:
            return logits
        logits = self._logits_after(inputs, hidden)
        assert logits is not None  # all blocks ran in `start`
        return logits

    def _logits_after(self, inputs: Batch, hidden: Tensor) -> Tensor | None:
        """Return the logits after the last block's output; None if not every block runs."""
        seen = 0

        def last(index: int, state: Tensor, args: tuple[Any, ...], kwargs: Any) -> Tensor:
            nonlocal seen
            seen += 1
            return hidden.to(state) if index == len(self) - 1 else state.clone()

        with self._skeleton(inputs, last):
            logits: Tensor = self._call(inputs).logits[0]
        return logits if seen == len(self) else None

    @contextmanager
    def at(self, index: int) -> Iterator[nn.Module]:
        """Have a block on the device."""
        block = self.modules[index]
        if self.offload:
            block.to(self.device)
        self._held = index
        try:
            yield block
        finally:
            self._held = None
            if self.offload:
                block.to(CPU)

    def device_of(self, index: int) -> torch.device:
        """Return the device that a block computes on, of a model on several."""
        weight: Tensor = next(self.modules[index].parameters())
        return weight.device

    def _leave_blocks_on_host(self) -> None:
        """Move all but the blocks to the device, and each block there for as long as it runs."""
        inside = {id(module) for block in self.modules for module in block.modules()}
        for module in self.model.modules():
            if id(module) not in inside:
                for own in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                    own.data = own.data.to(self.device)

        def moving(index: int, device: torch.device) -> Callable[..., None]:
            def move(block: nn.Module, *_: Any) -> None:
                if self._held not in (index, _ALL):
                    block.to(device)

            return move

        for index, block in enumerate(self.modules):
            block.register_forward_pre_hook(moving(index, self.device))
            block.register_forward_hook(moving(index, CPU))

    def _call(self, inputs: Batch) -> Any:
        device = self.device if self.offload else next(self.model.parameters()).device
        return self.model(**_moved(dict(inputs), device))

    @contextmanager
    def _skeleton(
        self, inputs: Batch, replacement: Callable[[int, Tensor, tuple[Any, ...], Any], Tensor]
    ) -> Iterator[None]:
        """Put a function in the place of every block's forward pass; `inputs` are any."""
        tuples = self._returns_tuples(inputs) if self._tuples is None else self._tuples
        held, self._held = self._held, _ALL  # no block runs, so that none has to come
        with ExitStack() as stack:
            stack.callback(setattr, self, "_held", held)
            for index, block in enumerate(self.modules):

                def forward(*args: Any, _index: int = index, **kwargs: Any) -> Any:
                    first = kwargs.pop("hidden_states", None)
                    hidden, rest = (args[0], args[1:]) if first is None else (first, args)
                    output = replacement(_index, hidden, rest, kwargs)
                    return (output,) if tuples else output

                stack.enter_context(_forward(block, forward))
            yield

    def _returns_tuples(self, inputs: Batch) -> bool:
        """Return whether blocks return tuples, as some families' do; the first block is run."""

        def stop(block: nn.Module, args: Any, output: Any) -> None:
            self._tuples = isinstance(output, tuple)
            raise _EnoughError

        handle = self.modules[0].register_forward_hook(stop)
        with self.at(0), suppress(_EnoughError), torch.no_grad():
            self._call(inputs)
        handle.remove()
        return bool(self._tuples)


class _EnoughError(Exception):
    """Ends a pass early."""


@contextmanager
def _forward(module: nn.Module, function: Callable[..., Any]) -> Iterator[None]:
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = function
    try:
        yield
    finally:
        if before is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before


def _stem(names: Sequence[str]) -> str:
    """Return the name of the list of blocks that most of the adapted modules are in."""
    elsewhere = ("vision", "connector")
    groups = [g for g in group_by_block(names) if g.number is not None and g.tower not in elsewhere]
    by_stem = {
        stem: sum(len(g.modules) for g in gs) for stem, gs in groupby(groups, lambda g: g.stem)
    }
    if not by_stem:
        raise MergeError(
            "no adapter is on a block of the language model",
            where=few(list(names)),
            hint="relay is about these; merge by a method that needs no model",
        )
    most: str = max(by_stem, key=lambda stem: by_stem[stem])
    return most


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


def _moved(value: Any, device: torch.device) -> Any:
    """Return nested tuples, lists and dictionaries with their tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _moved(each, device) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_moved(each, device) for each in value)
    return value
