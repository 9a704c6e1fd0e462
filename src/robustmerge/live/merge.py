"""A run on the layers of a model in memory; nothing here imports PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from .. import methods
from ..adapter import align, layout
from ..adapter.keys import Part
from ..depth import Depth, find_depths
from ..engine.extras import ExtrasPlan
from ..engine.job import ModuleJob, configure_method
from ..engine.plan import MergePlan, planned_rank
from ..engine.recipe import Recipe
from ..engine.run import MergedModule, MergeRun
from ..engine.values import Parameters
from ..errors import MergeError
from ..factors import Factors, Stack
from .experts import ExpertLayer, PeftLayer

Layer = PeftLayer | ExpertLayer
"""A LoRA layer of PEFT, or an expert of a parameter that PEFT wraps."""


class LiveRun(MergeRun):
    """A run whose updates come from the layers of a model rather than from files.

    The recipe's adapters are names in the model; every layer must have at least one of them.
    """

    def __init__(self, recipe: Recipe, layers: Mapping[str, Layer]) -> None:
        """Plan a merge of these layers, named as in the base model.

        Raises:
            MergeError: an unknown method, one that needs data, or parameters it does not take
        """
        method = methods.get(recipe.method)
        self._check(recipe, method)
        parameters = configure_method(method, recipe.parameters, recipe.seed)
        names = sorted(layers, key=align.natural_key)
        depth = find_depths(names)
        jobs = tuple(_job(name, layers[name], recipe, parameters, depth[name]) for name in names)
        plan = MergePlan(
            adapters=(),
            method=method,
            balance=recipe.steps("balance"),
            calibrate=recipe.steps("calibrate"),
            jobs=jobs,
            factor_per_module=recipe.scale_over == "module",
            rank=planned_rank(recipe, jobs),
            energy=recipe.energy,
            extras=ExtrasPlan(),
            base_name="",
            layout=layout.HF,
            dtype="F32",
            warnings=method.warnings(parameters),
        )
        super().__init__(plan)
        self._layers = layers
        self._adapters = recipe.adapters

    def _check(self, recipe: Recipe, method: methods.Method) -> None:
        """Check that the method can be carried out on nothing but the layers."""
        if method.run:
            raise MergeError(
                f"method {method.name!r} trains a model that it loads",
                where="add_merged_adapter",
                hint="save the adapters, then robustmerge.merge with base= and samples=",
            )
        if method.needs:
            raise MergeError(
                f"method {method.name!r} needs statistics, which are matched with saved adapters",
                where=", ".join(method.needs),
                hint="save the adapters, then robustmerge.peft.collect, and robustmerge.merge with "
                "data=",
            )
        if recipe.samples:
            raise MergeError(
                f"method {method.name!r} reads no samples",
                where="samples",
                hint="leave them out, or method='relay'",
            )

    def stack(self, job: ModuleJob) -> Stack:
        """Return one module's updates."""
        layer, names = self._layers[job.written], self._adapters
        scalings = tuple(float(layer.scaling.get(name, 1.0)) for name in names)
        updates = [update_of(layer, name, job.name) for name in names]
        first = next(update for update in updates if update)
        zero = Factors(first.A[:0], first.B[:, :0])  # rank 0
        return Stack(job.name, tuple(update or zero for update in updates), job.weights, scalings)

    def dtype_of(self, job: ModuleJob) -> torch.dtype:
        """Return the type of a layer's merged factors: the widest of the adapters'."""
        pairs = self._pairs(self._layers[job.written])
        return reduce(torch.promote_types, [A.dtype for A, _ in pairs])

    def _pairs(self, layer: Layer) -> list[tuple[Tensor, Tensor]]:
        return [pair for name in self._adapters if (pair := pair_of(layer, name))]

    def stored(self, merged: MergedModule) -> MergedModule:
        """Return the result in the type of the merged adapters, in memory of its own.

        Raises:
            MergeError: a finite value that does not fit that type
        """
        layer, job = self._layers[merged.job.written], merged.job
        dtype, device = self.dtype_of(job), self._pairs(layer)[0][0].device
        A, B = (
            factor.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
            for factor in (merged.factors.A, merged.factors.B)
        )
        if not (A.isfinite().all() and B.isfinite().all()):
            raise MergeError(
                f"the merged values exceed {dtype}",
                where=job.name,
                hint="a smaller scale, or adapters in float32",
            )
        return replace(merged, factors=Factors(A, B))


def pair_of(layer: Layer, adapter: str) -> tuple[Tensor, Tensor] | None:
    """Return A and B of an adapter in a layer, None where it has none."""
    if isinstance(layer, ExpertLayer):
        return layer.pair(adapter)
    if adapter in layer.lora_A:
        return layer.lora_A[adapter].weight, layer.lora_B[adapter].weight  # type: ignore[return-value]
    if adapter in layer.lora_embedding_A:
        return layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter]
    return None


def fill(layer: Layer, adapter: str, factors: Factors) -> None:
    """Give a layer the factors of an adapter that it has."""
    if isinstance(layer, ExpertLayer):
        layer.fill(adapter, factors)
        return
    pair = pair_of(layer, adapter) or ()
    for parameter, value in zip(pair, (factors.A, factors.B), strict=False):
        parameter.data = value


def _job(
    name: str, layer: Layer, recipe: Recipe, parameters: Parameters, depth: Depth
) -> ModuleJob:
    pairs = [pair_of(layer, adapter) for adapter in recipe.adapters]
    A, B = next(pair for pair in pairs if pair)
    return ModuleJob(
        name=layout.canonical(name),
        written=name,
        part=_part(layer),
        shape=(B.shape[0], A.shape[1]),
        ranks=tuple(pair[0].shape[0] if pair else 0 for pair in pairs),
        weights=recipe.coefficients,
        scale=recipe.scale,
        depth=depth,
        parameters=parameters,
    )


def _part(layer: Layer) -> Part:
    return Part.A if isinstance(layer, ExpertLayer) or layer.lora_A else Part.EMBEDDING_A


def update_of(layer: Layer, adapter: str, module: str) -> Factors | None:
    """Return an adapter's update in float32 (float64 stays), scaling folded into B.

    It is None where the layer has no factors of the adapter.

    Raises:
        MergeError: NaN or infinite values
    """
    pair = pair_of(layer, adapter)
    if pair is None:
        return None
    A, B = (p.detach().to(torch.promote_types(p.dtype, torch.float32)) for p in pair)
    if not (A.isfinite().all() and B.isfinite().all()):
        raise MergeError(
            f"adapter {adapter!r} has NaN or infinite values",
            where=module,
            hint="the training run diverged; use another checkpoint",
        )
    return Factors(A, B * layer.scaling[adapter])
