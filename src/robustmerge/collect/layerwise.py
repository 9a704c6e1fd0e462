r"""Moments of the inputs in the merged model: RegMean++.

A layer of a merged model reads the output of merged layers, and not of an adapter's own as in
RegMean. So the model is merged from below. For every block in turn

    run each adapter's samples, merged updates in all blocks below, the adapter's own from here on,
    gather the moments of the block's modules and merge these, then go on to the next block.

Blocks come in the order of the model: the vision tower's, the connector, embeddings, the language
model's, the head. What is in no block (`layers.N`, `blocks.N`, `h.N`) is taken together with its
neighbors of one parent. A pass over samples ends where the next block begins.

Cost: one pass per block, half a forward pass on average: L / 2 times the passes of RegMean.

Source: Nguyen et al., RegMean++, 2025, arXiv:2508.03121.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from .. import methods
from ..adapter import layout
from ..factors import Factors, Stack, noted
from ..linalg import fit
from .activations import BatchState, Moments
from .model import BatchSource, Layers, forward, mask_of

# The shortest beginning that ends in layer(s), block(s) or h, the block's number, and its module:
# model.language_model.layers | 3 | mlp.up_proj. Nested numbers belong to the module.
_BLOCK = re.compile(r"(?P<stem>(?:.*?\.)??(?:layers?|blocks?|h))\.(?P<number>\d+)\..+")
_METHOD = "regmean-rows"


@dataclass(frozen=True)
class ModuleGroup:
    """Modules that are merged at one time.

    Attributes:
        stem: The name that the blocks of one stack share; of modules in no block, their parent.
        number: The number in the stack; None for modules in no block.
        modules: Canonical names.
    """

    stem: str
    number: int | None
    modules: tuple[str, ...]

    @property
    def tower(self) -> str:
        """The part of the model that the modules are in."""
        return layout.tower(self.modules[0])

    def ends_at(self, other: ModuleGroup) -> bool:
        """Decide whether a pass for this block may end where the other begins.

        Some models run their vision tower several times, for images and for videos, before the
        language model begins.
        """
        if other.number is None:
            return False
        if self.tower in ("vision", "connector"):
            return other.tower == "language"
        return self.number is not None and self.stem == other.stem and self.number < other.number


def blocks(names: Iterable[str]) -> tuple[ModuleGroup, ...]:
    """Group modules by block, in their order."""

    def block_of(name: str) -> tuple[str, int | None]:
        if match := _BLOCK.fullmatch(name):
            return match["stem"], int(match["number"])
        return name.rpartition(".")[0], None

    return tuple(ModuleGroup(*key, tuple(group)) for key, group in groupby(names, block_of))


def moments_through_merged(
    model: PeftModel,
    layers: Layers,
    stacks: Mapping[str, tuple[Factors, ...]],
    feeds: Mapping[str, BatchSource],
) -> list[dict[str, Tensor]]:
    """Gather every adapter's moments block by block."""
    moments_of: list[dict[str, Tensor]] = [{} for _ in feeds]
    every = blocks(layers)
    with ExitStack() as merged:
        for block in every:
            for adapter, tensors in zip(feeds, moments_of, strict=True):
                model.set_adapter(adapter)
                sums = {n: Moments(torch.cat([f.A for f in stacks[n]])) for n in block.modules}
                after = [n for b in every if block.ends_at(b) for n in b.modules]
                _pass(model, layers, sums, after, feeds[adapter])
                for name, moments in sums.items():
                    tensors |= moments.tensors(name)
            for name in block.modules:
                factors = merge_module(name, stacks[name], moments_of)
                merged.enter_context(replace_update(layers[name], factors))
    return moments_of


def merge_module(
    name: str, factors: tuple[Factors, ...], moments_of: Sequence[Mapping[str, Tensor]]
) -> Factors:
    """Merge one module by RegMean with its defaults, at full rank."""
    method = methods.get(_METHOD)
    device = factors[0].A.device
    data = tuple({n: t[f"{name}.{n}"].to(device) for n in method.needs} for t in moments_of)
    ones = (1.0,) * len(factors)
    update = noted(method(Stack(name, factors, ones, ones, data), **method.configure({}))).update
    return fit(update, min(sum(f.rank for f in factors), *update.shape))[0]


class _EnoughError(Exception):
    """Ends a pass once its block is done."""


def _pass(
    model: PeftModel,
    layers: Layers,
    sums: Mapping[str, Moments],
    after: Iterable[str],
    feed: BatchSource,
) -> None:
    def stop(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        raise _EnoughError

    watch = BatchState()
    with ExitStack() as hooks:
        hooks.enter_context(watch.on(layers, sums))
        for name in after:
            hooks.callback(layers[name].register_forward_pre_hook(stop).remove)
        for batch in feed:
            watch.mask = mask_of(batch)
            with suppress(_EnoughError):
                forward(model, batch)


@contextmanager
def replace_update(layer: LoraLayer, factors: Factors) -> Iterator[None]:
    """Replace the updates of a layer's adapters by this one while the block runs."""

    def add(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        X = inputs[0]
        if X.is_floating_point():
            update = (X.to(A.dtype) @ A.T) @ B.T
        else:
            update = torch.nn.functional.embedding(X, A.T) @ B.T * embed_scale(layer)
        changed: Tensor = output + update.to(output.dtype)
        return changed

    pair = (p for d in (layer.lora_A, layer.lora_embedding_A) for p in d.parameters())
    dtype = next(pair).dtype
    A, B = factors.A.to(dtype), factors.B.to(dtype)
    layer.enable_adapters(False)
    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
        layer.enable_adapters(True)


def embed_scale(layer: nn.Module) -> float | Tensor:
    """Return the number by which Gemma multiplies embeddings, and so their updates; else 1."""
    scale = getattr(layer, "_get_embed_scale", lambda: None)()
    return 1.0 if scale is None else scale
