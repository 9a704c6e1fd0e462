"""`merge --method relay`: from adapters, base and samples to merged modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from ..collect.encode import SampleEncoder
from ..collect.load import load_model, load_processor
from ..engine.plan import MergePlan
from ..engine.recipe import Recipe
from ..engine.run import MergedModule, MergeRun, RunFacts
from ..errors import MergeError, enough_memory
from ..files import sha256
from ..threads import Progress
from .order import RelayOrder
from .session import RelaySession
from .unfinished import Unfinished

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RelayRun(MergeRun):
    """A walk through the base model in the place of a pass over files."""

    def __init__(
        self, recipe: Recipe, plan: MergePlan, *, device: str, work: str | Path | None = None
    ) -> None:
        """Open the samples; the model is loaded when modules are asked for.

        Raises:
            MergeError: samples that cannot be read, or activations on disk without a folder
        """
        super().__init__(plan, device=device, workers=1)
        self.recipe = recipe
        self.order = RelayOrder.of(recipe, plan, [adapter.label for adapter in plan.adapters])
        self._facts, self._work = RunFacts(), work
        if self.order.settings.activations == "disk" and work is None:
            raise MergeError(
                "activations on disk are in the folder for unfinished work, and none is named",
                where="activations=disk",
                hint="--work FOLDER, on a disk with room for them",
            )

    def facts(self) -> RunFacts:
        """Return the report on the tasks."""
        return self._facts

    def modules(self, rank: int, progress: Progress) -> Iterator[MergedModule]:
        """Walk through the model, then hand over every module in the plan's order."""
        base, settings = str(self.recipe.base), self.order.settings
        elsewhere = self.order.elsewhere(self.plan.jobs, self.stack, rank)
        result = self._session(base, rank).merge(
            self.order.samples,
            SampleEncoder(load_processor(base), _PRECISIONS[settings.precision]),
            self.order.walk_settings(rank),
            elsewhere,
            progress,
        )
        self._facts = self.order.report(result)
        yield from map(self.stored, self.order.modules(self.plan.jobs, result))

    def _session(self, base: str, rank: int) -> RelaySession:
        settings = self.order.settings
        names = [f"adapter{n + 1}" for n in range(len(self.plan.adapters))]
        host = torch.device("cpu") if settings.offload else self.device
        dtype = _PRECISIONS[settings.precision]
        less_memory = self.order.ways_out(self.device, work=self._work is not None)
        with enough_memory(base, less_memory):
            model = load_model(base, self.plan.adapters, names, device=host, dtype=dtype)
        return RelaySession(
            model,
            names,
            settings,
            device=self.device,
            extras={e.name: self.plan.extras.merge(e) for e in self.plan.extras.parameters},
            work=Unfinished(self._work, self._key(rank)),
            less_memory=less_memory,
        )

    def _key(self, rank: int) -> Mapping[str, Any]:
        return {
            "robustmerge": __version__,
            "recipe": self.recipe.to_dict(),
            "rank": rank,
            "adapters": [[sha256(f.path) for f in a.files] for a in self.plan.adapters],
            "samples": [file.sha256 for file in self.order.files],
            "device": str(self.device),
        }
