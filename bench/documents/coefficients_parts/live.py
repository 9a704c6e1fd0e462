"""The base model with a weighted sum of adapters, whose coefficients have gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustmerge.factors import Factors
from robustmerge.prompted.taps import AfterForward
from robustmerge_bench.mini.student import MiniModel

from .prompts import PromptRows
from .weighted import WeightedUpdate


class CoefficientModel:
    """A merge on the base.

    Attributes:
        coefficients: Of every module [part, coefficient], the only parameters with gradients.
        inputs: Of every module in the last run [row, token, d_in].
    """

    def __init__(
        self, model: MiniModel, updates: Mapping[str, WeightedUpdate], start: float
    ) -> None:
        """Begin with equal coefficients.

        Args:
            model: The base; inputs and weights are of its type, coefficients float32.
            updates: The adapters' updates of every module by canonical name.
            start: The coefficient.
        """
        self._model, self._updates = model, updates
        self.coefficients = {
            name: nn.Parameter(update.start(start)) for name, update in updates.items()
        }
        self.inputs: dict[str, Tensor] = {}

    def run(self, prompts: PromptRows) -> Tensor:
        """Return the language model's last states [row, token, width]."""
        with _Merged(self, self._updates):
            inner = self._model.model.model.language_model
            hidden: Tensor = inner(
                inputs_embeds=prompts.embedded, use_cache=False
            ).last_hidden_state
        return hidden

    def module(self, name: str) -> nn.Module:
        """Return the base's module of a canonical name."""
        return self._model.model.get_submodule(name)

    def logits(self, prompts: PromptRows, hidden: Tensor) -> Tensor:
        """Return the logits [row, vocabulary] of the first token of an answer."""
        logits: Tensor = self._model.model.lm_head(prompts.at_last(hidden))
        return logits

    @torch.no_grad()
    def factors(self) -> dict[str, Factors]:
        """Return every module's merged update as it is now."""
        return {
            name: update.factors(self.coefficients[name].detach().clone())
            for name, update in self._updates.items()
        }


class _Merged(AfterForward):
    """Adds the weighted updates to the outputs of modules, and keeps their inputs."""

    def __init__(self, model: CoefficientModel, updates: Mapping[str, WeightedUpdate]) -> None:
        super().__init__({name: model.module(name) for name in updates})
        self._model, self._updates = model, updates

    def _hook(self, name: str) -> Any:
        factors = self._updates[name].factors(self._model.coefficients[name])

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = self._model.inputs[name] = inputs[0]
            return output + x @ factors.A.T.to(x.dtype) @ factors.B.T.to(x.dtype)

        return add
