"""A live PeftModel for statistics: its adapted layers, its batches, its state before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch import Tensor, nn

from ..adapter import layout
from ..errors import MergeError, few, unknown
from ..factors import Factors
from ..live.merge import pair_of, update_of

Batch = Mapping[str, Any]
"""The inputs of one call: `model(**batch)`."""

Layers = Mapping[str, LoraLayer]
"""Adapted layers by canonical name, in the order of the model."""


def adapted_layers(model: PeftModel, adapters: Sequence[str]) -> dict[str, LoraLayer]:
    """Find the layers that have one of the adapters.

    Raises:
        MergeError: an adapter is unknown, or on a layer that cannot be merged.
    """
    if not isinstance(model, PeftModel):
        raise MergeError(
            f"a {type(model).__name__} is not a PeftModel",
            hint="PeftModel.from_pretrained(base, folder) makes one",
        )
    for adapter in adapters:
        if adapter not in model.peft_config:
            raise unknown("adapter", adapter, model.peft_config, where="adapters of the model")
    layers: dict[str, LoraLayer] = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and any(pair_of(module, a) for a in adapters):
            _refuse(module, adapters, name)
            layers[layout.canonical(name)] = module
    if not layers:
        raise MergeError(
            "no layer of the model has one of the adapters",
            where=few(list(adapters)),
            hint="they are no LoRA adapters, or none of their modules is in the model",
        )
    return layers


def _refuse(layer: LoraLayer, adapters: Sequence[str], name: str) -> None:
    base = layer.get_base_layer()
    if isinstance(layer, ParamWrapper):
        raise MergeError(
            f"an adapter on the parameter {layer.parameter_name}, whose inputs no layer has",
            where=name,
            hint="methods without statistics merge parameters and fused experts",
        )
    pairs = [pair for adapter in adapters if (pair := pair_of(layer, adapter))]
    if any(p.ndim != 2 for pair in pairs for p in pair) or isinstance(base, nn.MultiheadAttention):
        raise MergeError(
            f"an adapter on a {type(base).__name__}",
            where=name,
            hint="only linear and embedding layers are merged; leave others out of training",
        )
    if layer.merged:
        raise MergeError(
            f"{few(layer.merged_adapters)} is merged into the base weights at the moment",
            where=name,
            hint="model.unmerge_adapter() takes it out",
        )


def factors_of(layers: Layers, adapters: Sequence[str]) -> dict[str, tuple[Factors, ...]]:
    """Return every layer's updates, one for each adapter, of rank 0 where it is missing."""
    stacks = {}
    for name, layer in layers.items():
        updates = [update_of(layer, adapter, name) for adapter in adapters]
        first = next(filter(None, updates))
        missing = Factors(first.A[:0], first.B[:, :0])  # of rank 0
        stacks[name] = tuple(update or missing for update in updates)
    return stacks


class BatchSource:
    """An adapter's batches, on the device of the model, each time they are iterated over.

    Attributes:
        samples: Batches in the last complete pass.
        tokens: Tokens in them, padding not counted.
    """

    def __init__(
        self, model: PeftModel, batches: Iterable[Batch], done: Callable[[], None]
    ) -> None:
        """Keep the batches; `done` is called after every one."""
        self._device = next(model.parameters()).device
        self._batches, self._done = batches, done
        self.samples = self.tokens = 0

    def __iter__(self) -> Iterator[Batch]:
        samples = tokens = 0
        for batch in self._batches:
            tokens += _tokens(batch)
            samples += 1
            yield {k: v.to(self._device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            self._done()
        self.samples, self.tokens = samples, tokens


@contextmanager
def borrow_model(model: PeftModel) -> Iterator[None]:
    """Set evaluation mode and enable adapters; restore everything afterwards."""
    training = [(m, m.training) for m in model.modules()]
    gradients = [(p, p.requires_grad) for p in model.parameters()]
    active = model.active_adapter, list(model.active_adapters)
    layers = [(m, list(m.active_adapters)) for m in model.modules() if isinstance(m, LoraLayer)]
    off = [m for m in model.modules() if getattr(m, "_disable_adapters", False)]
    try:
        model.eval()
        for module in off:
            module.enable_adapters(True)
        yield
    finally:
        model.active_adapter = active[0]
        model.base_model.set_adapter(active[1])
        for layer, names in layers:
            layer.enable_adapters(True)
            layer.set_adapter(names)
        for module in off:
            module.enable_adapters(False)
        for module, mode in training:
            module.training = mode
        for parameter, wanted in gradients:
            parameter.requires_grad_(wanted)


def _tokens(batch: Batch) -> int:
    mask, ids = mask_of(batch), batch.get("input_ids")
    if mask is not None:
        return int(mask.bool().sum())
    return ids.numel() if isinstance(ids, Tensor) else 0


def mask_of(batch: Batch) -> Tensor | None:
    """Return the mask of a batch's real tokens, [sample token], None where it has none."""
    mask = batch.get("attention_mask")
    return mask if isinstance(mask, Tensor) and mask.ndim == 2 else None


def forward(model: PeftModel, batch: Batch) -> Any:
    """Run the model on a batch without gradients."""
    with torch.no_grad():
        return model(**batch)
