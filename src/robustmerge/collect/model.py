"""A live PeftModel as the statistics see it: its adapted layers, and how it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..adapter import layout
from ..errors import MergeError, few, unknown
from ..factors import Factors
from ..live.merge import pair_of, update_of

Batch = Mapping[str, Any]
"""What the model is called with: `model(**batch)`."""

Layers = Mapping[str, LoraLayer]
"""Adapted layers by canonical name, in the order of the model."""


def adapted_layers(model: PeftModel, adapters: Sequence[str]) -> dict[str, LoraLayer]:
    """The layers that have one of the adapters.

    Raises:
        MergeError: An adapter is unknown, or on a layer whose statistics nobody could use.
    """
    if not isinstance(model, PeftModel):
        raise MergeError(
            f"a {type(model).__name__} is not a PeftModel",
            hint="PeftModel.from_pretrained(base, folder) makes one",
        )
    for adapter in adapters:
        if adapter not in model.peft_config:
            raise unknown("adapter", adapter, model.peft_config, where="adapters of the model")
    found: dict[str, LoraLayer] = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and any(pair_of(module, a) for a in adapters):
            _refuse(module, adapters, name)
            found[layout.canonical(name)] = module
    if not found:
        raise MergeError(
            "no layer of the model has one of the adapters",
            where=few(list(adapters)),
            hint="they are no LoRA adapters, or PEFT found no place for them",
        )
    return found


def _refuse(layer: LoraLayer, adapters: Sequence[str], name: str) -> None:
    base = layer.get_base_layer()
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
    """Every layer's updates, one for each adapter, of rank 0 where it lacks the layer."""
    stacks = {}
    for name, layer in layers.items():
        found = [update_of(layer, adapter, name) for adapter in adapters]
        some = next(one for one in found if one)
        nothing = Factors(some.A[:0], some.B[:, :0])
        stacks[name] = tuple(one or nothing for one in found)
    return stacks


class BatchSource:
    """An adapter's batches, on the device of the model, as often as they are asked for.

    Attributes:
        samples: Batches in the last pass that came to its end.
        tokens: Tokens in them, padding not counted.
    """

    def __init__(
        self, model: PeftModel, batches: Iterable[Batch], done: Callable[[], None]
    ) -> None:
        """Take note; `done` is called after every batch."""
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
    """Evaluation mode with adapters enabled; afterwards everything is as it was."""
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
    """Which tokens of a batch are real, [sample token]; None where it does not say."""
    mask = batch.get("attention_mask")
    return mask if isinstance(mask, Tensor) and mask.ndim == 2 else None


def forward(model: PeftModel, batch: Batch) -> Any:
    """What the model makes of a batch, without gradients."""
    with torch.no_grad():
        return model(**batch)
