"""The weights of a model in memory, to which one adapter at a time is added and taken off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from robustmerge import load
from robustmerge.errors import MergeError, few


class SwitchedWeights:
    """Weights that are kept exactly, and rounded once whenever an adapter is added.

    A second copy of all weights is held, in the type that they had at the beginning.
    """

    def __init__(self, model: nn.Module) -> None:
        """Keep the weights as they are now; the model may change their type afterwards."""
        self._model = model
        self._exact = {name: weight.clone() for name, weight in model.named_parameters()}

    @contextmanager
    def using(self, adapter: Path | None, scale: float = 1.0) -> Iterator[None]:
        """Use an adapter in a block: its scaled LoRA updates, and its fully trained parameters.

        It is a PEFT folder; None for the base alone.
        """
        changed = set() if adapter is None else self._add(adapter, scale)
        try:
            yield
        finally:
            self._set({name: self._exact[name] for name in changed})

    def _add(self, folder: Path, scale: float) -> set[str]:
        """Add an adapter to the weights; return the names of those that change."""
        adapter = load(folder)
        changed = {f"{name}.weight" for name in adapter.modules} | set(adapter.extras)
        if absent := sorted(changed - set(self._exact)):
            raise MergeError(
                "the adapter has modules that are missing in the model",
                where=f"{folder}  {few(absent)}",
                hint="it was trained from another base model",
            )
        new = {name: extra.read() for name, extra in adapter.extras.items()}
        for name in adapter.modules:
            exact = self._exact[f"{name}.weight"]
            delta = adapter.factors(name).dense().to(exact.device)  # [d_out, d_in]
            new[f"{name}.weight"] = exact + scale * delta
        adapter.close()
        self._set(new)
        return changed

    @torch.no_grad()
    def _set(self, new: Mapping[str, Tensor]) -> None:
        """Set the values of weights."""
        weights = dict(self._model.named_parameters())
        for name, values in new.items():
            weights[name].copy_(values)
