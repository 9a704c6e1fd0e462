"""A model that computes with one adapter, with none, or with what is merged so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from ..adapter import layout
from ..collect.layerwise import embed_scale
from ..collect.model import Layers, borrow_model
from ..errors import MergeError, few
from ..factors import Factors

_BASE, _MERGED = "", "merged updates"


class SwitchedModel:
    """A PeftModel whose layers take merged updates as they are found.

    Attributes:
        model: The model.
        layers: Its adapted layers by canonical name.
    """

    def __init__(self, model: PeftModel, layers: Layers, extras: Mapping[str, Tensor]) -> None:
        """Note the parameters that merged, fully trained ones replace.

        Args:
            model: The model.
            layers: Its adapted layers by canonical name.
            extras: Merged fully trained parameters by canonical name.

        Raises:
            MergeError: an extra is not in the model
        """
        self.model, self.layers = model, layers
        self._updates: dict[str, tuple[Tensor, Tensor]] = {}
        self._extras = _places(model, extras)
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        self._switches: list[Any] = [m for m in model.modules() if isinstance(m, kinds)]
        self._state: str | None = None

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Let the block switch the model; it is as before afterwards."""
        handles = [
            layer.register_forward_hook(self._adding(name)) for name, layer in self.layers.items()
        ]
        try:
            with borrow_model(self.model):
                try:
                    yield
                finally:
                    self.base()
                    self.model.base_model.enable_adapter_layers()
                    self._state = None
        finally:
            for handle in handles:
                handle.remove()

    def adapter(self, name: str) -> None:
        """Compute with an adapter, its fully trained parameters included."""
        if self._state == name:
            return
        self._swap(_BASE)
        # What PEFT's own set_adapter does, without a look at every module and parameter.
        for module in self._switches:
            saved = getattr(module, "modules_to_save", None)
            has = saved is None or name in saved
            module.enable_adapters(has)
            if has:
                module.set_adapter(name)
        self._state = name

    def base(self) -> None:
        """Compute without any adapter."""
        self._off(_BASE)

    def merged(self) -> None:
        """Compute with the merged updates that there are, and the merged parameters."""
        self._off(_MERGED)

    def put(self, name: str, factors: Factors) -> None:
        """Add a merged update to the merged model."""
        weight = next(self.layers[name].get_base_layer().parameters())
        dtype = weight.dtype if weight.is_floating_point() else torch.bfloat16
        self._updates[name] = (
            factors.A.to(weight.device, dtype),
            factors.B.to(weight.device, dtype),
        )

    def _off(self, state: str) -> None:
        if self._state != state:
            if self._state not in (_BASE, _MERGED):
                for module in self._switches:
                    module.enable_adapters(False)
            self._swap(state)
            self._state = state

    def _swap(self, state: str) -> None:
        """Have the base's own parameters, or the merged ones, in the base."""
        for parameter, original, merged in self._extras:
            value = merged if state == _MERGED else original
            if parameter.data is not value:
                parameter.data = value.to(parameter.device)

    def _adding(self, name: str) -> Any:
        def add(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            pair = self._updates.get(name)
            if self._state != _MERGED or pair is None:
                return None
            x, (A, B) = inputs[0], (p.to(output.device) for p in pair)
            if x.is_floating_point():
                update = (x.to(A.dtype) @ A.T) @ B.T
            else:
                update = nn.functional.embedding(x, A.T) @ B.T * embed_scale(layer)
            changed: Tensor = output + update.to(output.dtype)
            return changed

        return add


def _places(
    model: PeftModel, extras: Mapping[str, Tensor]
) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
    """Return the base's parameters that merged ones replace, with both values."""
    named = {
        layout.canonical(name.replace(".original_module", "")): parameter
        for name, parameter in model.get_base_model().named_parameters()
        if ".modules_to_save." not in name
    }
    if absent := sorted(set(extras) - set(named)):
        raise MergeError(
            "fully trained parameters that are not in the base",
            where=few(absent),
            hint="name the base that the adapters were trained on",
        )
    return [(named[n], named[n].data, v.to(named[n].dtype)) for n, v in extras.items()]
