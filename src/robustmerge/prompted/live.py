"""RELAY on a PeftModel in memory, as `robustmerge.peft.add_merged_adapter` starts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from .. import methods
from ..adapter.tensors import DTYPES
from ..collect.encode import SampleEncoder
from ..collect.load import load_processor
from ..engine.data import check_samples
from ..engine.recipe import Recipe
from ..engine.run import MergedModule, RunFacts
from ..errors import MergeError, few
from ..live.merge import LiveRun
from ..threads import Progress
from .order import RelayOrder
from .session import RelaySession
from .unfinished import Unfinished

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class LiveRelayRun(LiveRun):
    """A walk through a model in memory, which is afterwards as it was."""

    def __init__(
        self, recipe: Recipe, layers: Mapping[str, LoraLayer], model: PeftModel, processor: Any
    ) -> None:
        """Read the samples.

        Args:
            recipe: What is merged: names of adapters in the model, and their samples.
            layers: The adapted layers, named as in the base model.
            model: The model.
            processor: transformers' processor or tokenizer of the model; None to load the one of
                the model's own folder or Hub id.

        Raises:
            MergeError: settings for a model that is still to be loaded, weights that are not in
                memory, or samples that cannot be read
        """
        super().__init__(recipe, layers)
        _check_in_memory(model)
        widest = reduce(torch.promote_types, map(self.dtype_of, self.plan.jobs))
        self.plan = replace(self.plan, dtype=_NAMES[widest])
        self._order = RelayOrder.of(recipe, self.plan, recipe.adapters)
        self._model, self._processor, self._facts = model, processor, RunFacts()

    def facts(self) -> RunFacts:
        """Return the report on the tasks."""
        return self._facts

    def modules(self, rank: int, progress: Progress) -> Iterator[MergedModule]:
        """Walk through the model, then hand over every module."""
        processor = self._processor
        if processor is None:
            processor = load_processor(_folder(self._model))
        encoder = SampleEncoder(processor, self._model.get_base_model().dtype)
        device = next(self._model.parameters()).device
        session = RelaySession(
            self._model,
            self._adapters,
            self._order.settings,
            device=device,
            extras={},
            work=Unfinished(None, {}),
            less_memory=self._order.ways_out(device, live=True),
        )
        result = session.merge(
            self._order.samples,
            encoder,
            self._order.walk_settings(rank),
            self._order.elsewhere(self.plan.jobs, self.stack, rank),
            progress,
        )
        self._facts = self._order.report(result)
        yield from map(self.stored, self._order.modules(self.plan.jobs, result))

    def _check(self, recipe: Recipe, method: methods.Method) -> None:
        check_samples(recipe, method)
        for name in ("precision", "offload", "activations"):
            if name in recipe.parameters:
                raise MergeError(
                    f"{name} is about a model that is loaded for the merge",
                    where="add_merged_adapter",
                    hint="leave it out: the model is used as it is; robustmerge.relay loads one",
                )


def _check_in_memory(model: PeftModel) -> None:
    absent = [name for name, value in model.named_parameters() if value.is_meta]
    if absent:
        raise MergeError(
            "weights that are on disk or on another device until they are used",
            where=few(absent),
            hint="load the model without device_map, or save the adapters and use "
            "robustmerge.relay with offload=True, which has one block on the device at a time",
        )


def _folder(model: PeftModel) -> str:
    name = getattr(model.get_base_model(), "name_or_path", "")
    if not name:
        raise MergeError(
            "the model does not say where its processor is",
            where="add_merged_adapter",
            hint="processor=AutoProcessor.from_pretrained(BASE)",
        )
    return str(name)
