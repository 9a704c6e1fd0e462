"""The decoder's blocks: a stack with a head after it, and one block at a time on the device.

What follows the last block runs in a skeleton pass that ends with the hidden states after it. Such
a pass costs the vision tower, the embeddings and the head. One block at a time is on the device
where the model as a whole is not (`offload`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..adapter import layout
from ..collect.layerwise import blocks as group_by_block
from ..collect.model import Batch
from ..errors import MergeError, few
from .keep import Keep, on_host
from .stacks import CPU, BlockStack, BlockStart, Replacement, blocks_of, names_by_block

_ALL = -1
_TEXT = ("input_ids", "attention_mask", "use_cache")


class LanguageBlocks(BlockStack):
    """The blocks of a model's language model."""

    def __init__(
        self,
        model: PeftModel,
        names: Sequence[str],
        device: torch.device,
        *,
        offload: bool = False,
        keep: Keep = on_host,
    ) -> None:
        """Find the blocks.

        Args:
            model: The model, in evaluation mode.
            names: Canonical names of its adapted modules.
            device: Where blocks compute.
            offload: Whether the blocks stay on the host and come to the device one at a time.
            keep: Keeps hidden states.

        Raises:
            MergeError: the model has no numbered blocks, but for towers
        """
        self.device, self.offload = device, offload
        self._held: int | None = None
        stem = _stem(names) or _stem(
            layout.canonical(name) for name, _ in model.get_base_model().named_modules()
        )
        if not stem:
            raise MergeError(
                "no blocks of a language model",
                where=few(list(names)),
                hint="relay walks through these; merge by a method that needs no model",
            )
        blocks = blocks_of(model, stem)
        inside = names_by_block(names, stem, len(blocks))
        inputs_on = device if offload else next(model.parameters()).device
        super().__init__(model, stem, blocks, inside, inputs_on, keep=keep)
        if offload:
            self._leave_blocks_on_host()

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
        before, self._held = self._held, index
        try:
            yield block
        finally:
            self._held = before
            if self.offload:
                block.to(CPU)

    @contextmanager
    def _skeleton(self, inputs: Batch, replacement: Replacement) -> Iterator[None]:
        """Put a function in the place of every block's forward pass: no block has to come."""
        before, self._held = self._held, _ALL
        try:
            with super()._skeleton(inputs, replacement):
                yield
        finally:
            self._held = before

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


def _stem(names: Iterable[str]) -> str:
    """Return the name of the list of blocks that most of the modules are in; '' without any."""
    elsewhere = ("vision", "connector")
    groups = [g for g in group_by_block(names) if g.number is not None and g.tower not in elsewhere]
    by_stem = {
        stem: sum(len(g.modules) for g in gs) for stem, gs in groupby(groups, lambda g: g.stem)
    }
    return max(by_stem, key=lambda stem: by_stem[stem], default="")
