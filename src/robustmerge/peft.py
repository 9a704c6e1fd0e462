"""Merging on a live PeftModel, by the same methods and the same engine as from files.

add_merged_adapter   what PEFT's `add_weighted_adapter` is for, with every scaling counted
landed               check that an adapter folder is really in a model: PEFT only warns if not
collect              statistics of the adapters' tasks, for methods that need them
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch import Tensor, nn

from . import methods
from .adapter.config import AdapterConfig
from .collect.live import collect
from .engine.options import DEFAULT_METHOD, ScaleOver
from .engine.recipe import Recipe
from .engine.report import ModuleReport, energy_kept, remarks
from .engine.run import MergedModule, RunFacts
from .engine.runner import load_runner
from .engine.values import read_paths, read_steps
from .errors import MergeError, few, within
from .live.experts import ExpertLayer, experts_of
from .live.loaded import check_known, landed
from .live.merge import Layer, LiveRun, fill, pair_of
from .threads import Progress, silent

__all__ = ["AddedAdapter", "add_merged_adapter", "collect", "landed"]

_BY_FOLDERS = "save the adapters and merge their folders with robustmerge.merge"


@dataclass(frozen=True)
class AddedAdapter:
    """A merged adapter that was added to a model.

    Attributes:
        name: The adapter's name in the model.
        rank: Its uniform rank, which is also its alpha.
        modules: One line per module.
        warnings: What a careful user should know.
        facts: What a method that runs the model says of it, as in merge.json.
    """

    name: str
    rank: int
    modules: tuple[ModuleReport, ...]
    warnings: tuple[str, ...]
    facts: RunFacts = field(default_factory=RunFacts)

    @property
    def energy(self) -> tuple[float, float]:
        """Mean and least share of energy kept over modules."""
        return energy_kept(self.modules)


def add_merged_adapter(
    model: PeftModel,
    adapters: Sequence[str],
    adapter_name: str,
    *,
    method: str = DEFAULT_METHOD,
    weights: Sequence[float] | None = None,
    scale: float | str = 1.0,
    scale_over: ScaleOver = "model",
    balance: str | Sequence[str] = (),
    calibrate: str | Sequence[str] = (),
    rank: int | str = "input",
    seed: int = 0,
    samples: Sequence[str | Path] = (),
    processor: Any = None,
    progress: Progress = silent,
    **parameters: Any,
) -> AddedAdapter:
    """Merge adapters of a model into a new adapter of it.

    Every layer that has at least one of the adapters gets the new one; an adapter without the layer
    is no update there. Active adapters, gradients and modes stay as they are:
    `model.set_adapter(adapter_name)` puts the result to use.

    Args:
        model: A PeftModel with LoRA adapters.
        adapters: Names of the adapters to merge.
        adapter_name: Name of the new adapter.
        method: Merge method; `robustmerge.methods.every()` lists them.
        weights: One coefficient per adapter; 1 each where not given.
        scale: One factor on every merged update, or a rule: `robustmerge.merge` says more.
        scale_over: Whether a rule determines one factor for the model, or one for every module.
        balance: Steps before the merge.
        calibrate: Steps after it.
        rank: input (the largest of the inputs), full (sum of ranks), a number, or energy:0.99.
        seed: For random methods.
        samples: One file of JSON lines per adapter, for method relay, which runs the model:
            "prompt" or "text", and "image"; answers are not needed.
        processor: transformers' processor or tokenizer for the samples; unless given, that of the
            folder or Hub id which the model was loaded from.
        progress: Called with the steps done and the steps to do, by method relay.
        **parameters: Parameters of the method, such as density=0.3.

    Raises:
        MergeError: anything the user can fix; the model is unchanged
    """
    with within("add_merged_adapter"):
        recipe = Recipe(
            read_paths("adapters", adapters),
            parameters,
            method=method,
            weights=None if weights is None else tuple(weights),
            scale=scale,
            scale_over=scale_over,
            balance=read_steps("balance", balance),
            calibrate=read_steps("calibrate", calibrate),
            rank=rank,
            seed=seed,
            samples=read_paths("samples", samples),
        )
    _check_names(model, recipe.adapters, adapter_name)
    layers = _layers(model, recipe.adapters)
    run = _start(recipe, layers, model, processor)
    run.survey(silent)
    uniform = run.rank(silent)
    merged = list(run.modules(uniform, progress))
    facts = run.facts()
    with _nothing_else_changed(model, adapter_name):
        model.add_adapter(adapter_name, _settings(model, recipe.adapters, layers, uniform))
        for module in merged:
            fill(layers[module.job.written], adapter_name, module.factors)
        _check_filled(model, adapter_name, merged)
    lines = tuple(ModuleReport.of(module) for module in merged)
    fitted = bool(run.plan.method.run)
    warnings = (*run.plan.warnings, *remarks(lines, uniform, cut_is_loss=not fitted))
    return AddedAdapter(adapter_name, uniform, lines, (*warnings, *facts.warnings), facts)


def _start(
    recipe: Recipe, layers: Mapping[str, Layer], model: PeftModel, processor: Any
) -> LiveRun:
    """Return the method's own run on a live model, or the one on layers."""
    method = methods.get(recipe.method)
    if not method.live_run:
        return LiveRun(recipe, layers)
    if experts := [name for name, layer in layers.items() if isinstance(layer, ExpertLayer)]:
        raise MergeError(
            f"method {method.name!r} does not go through parameters that PEFT wraps, such as fused "
            "experts",
            where=few(experts),
            hint="a method that reads the adapters alone merges them, such as drift",
        )
    kind = load_runner(method.live_run, f"method {method.name!r}")
    run: LiveRun = kind(recipe, layers, model, processor)
    return run


def _check_names(model: PeftModel, adapters: Sequence[str], new: str) -> None:
    """Check all that needs no look at the layers."""
    for name in adapters:
        check_known(model, name)
        config = model.peft_config[name]
        raw = {**config.to_dict(), "peft_type": config.peft_type.value}
        AdapterConfig.of(raw, Path(f"model.peft_config[{name!r}]"))
    if new in model.peft_config:
        raise MergeError(
            f"the model already has an adapter {new!r}",
            hint="choose another name, or model.delete_adapter it first",
        )
    if not new or "." in new or hasattr(nn.ModuleDict(), new):
        raise MergeError(
            f"an adapter cannot be called {new!r}",
            hint="torch allows no dots in a name, nor a name such as 'keys' or 'type'",
        )


def _layers(model: PeftModel, adapters: Sequence[str]) -> dict[str, Layer]:
    """Return the layers that have one of the adapters, by their name in the base model."""
    for name, module in model.get_base_model().named_modules():
        for adapter in adapters:
            _refuse_fully_trained(module, adapter, name)
            if isinstance(module, LoraLayer) and (pair := pair_of(module, adapter)):
                _refuse_kind(module, pair, adapter, name)
        if isinstance(module, LoraLayer) and module.merged:  # PEFT would take them out
            raise MergeError(
                f"{few(module.merged_adapters)} is merged into the base weights at the moment",
                where=name,
                hint="model.unmerge_adapter() takes it out",
            )
    layers = dict(_named_layers(model))
    return {n: x for n, x in layers.items() if any(pair_of(x, adapter) for adapter in adapters)}


def _named_layers(model: PeftModel) -> Iterator[tuple[str, Layer]]:
    """Yield the LoRA layers by their name in the base model, and experts one by one."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, ParamWrapper):
            yield from experts_of(name, module)
        elif isinstance(module, LoraLayer):
            yield name, module


def _refuse_fully_trained(module: nn.Module, adapter: str, name: str) -> None:
    for attribute in ("modules_to_save", "trainable_tokens_delta"):
        held = getattr(module, attribute, None)
        if isinstance(held, nn.ModuleDict | nn.ParameterDict) and adapter in held:
            raise MergeError(
                f"adapter {adapter!r} holds fully trained parameters ({attribute})",
                where=name,
                hint=_BY_FOLDERS,
            )


def _refuse_kind(layer: LoraLayer, pair: Sequence[Tensor], adapter: str, name: str) -> None:
    base = layer.get_base_layer()
    if any(p.ndim != 2 for p in pair) or isinstance(base, nn.MultiheadAttention):
        raise MergeError(
            f"adapter {adapter!r} is on a {type(base).__name__}",
            where=name,
            hint="only linear and embedding layers are merged; leave others out of training",
        )


def _settings(
    model: PeftModel, adapters: Sequence[str], layers: Mapping[str, Layer], rank: int
) -> LoraConfig:
    """Plain LoRA on exactly these layers.

    PEFT takes a name for the end of a name, so others that end alike are excluded.
    """
    linear = [name for name, layer in layers.items() if not isinstance(layer, ExpertLayer)]
    endings, inside = tuple(f".{name}" for name in linear), tuple(f"{name}." for name in linear)
    alike = [
        re.escape(name)
        for name, _ in model.get_base_model().named_modules()
        if name.endswith(endings) and name not in layers and not name.startswith(inside)
    ]
    kept = ("task_type", "base_model_name_or_path", "revision", "auto_mapping", "fan_in_fan_out")
    # PEFT wants the same entries of every adapter of a model that has any.
    targets = (getattr(model.peft_config[name], "target_parameters", None) for name in adapters)
    parameters = sorted(next(filter(None, targets), ()))
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=linear,
        **({"target_parameters": parameters} if parameters else {}),
        **({"exclude_modules": "|".join(alike)} if alike else {}),
        **{field: getattr(model.peft_config[adapters[0]], field) for field in kept},
    )


@contextmanager
def _nothing_else_changed(model: PeftModel, new: str) -> Iterator[None]:
    """Keep what PEFT may touch when it adds an adapter; after an error, take the adapter out."""
    gradients = [(p, p.requires_grad) for p in model.parameters()]
    try:
        with torch.random.fork_rng(devices=[]):  # PEFT draws numbers that are then overwritten
            yield
    except BaseException:
        for layer in (m for m in model.modules() if isinstance(m, LoraLayer)):
            layer.delete_adapter(new)
        model.peft_config.pop(new, None)
        raise
    finally:
        for parameter, required in gradients:
            parameter.requires_grad_(required)


def _check_filled(model: PeftModel, adapter: str, merged: Sequence[MergedModule]) -> None:
    """Check that the model has these factors, and the adapter nowhere else."""
    expected = {module.job.written: module.factors for module in merged}
    actual = {n: pair for n, layer in _named_layers(model) if (pair := pair_of(layer, adapter))}
    wrong = sorted(expected.keys() ^ actual.keys())
    for name in expected.keys() & actual.keys():
        pairs = zip(actual[name], (expected[name].A, expected[name].B), strict=True)
        if not all(torch.equal(live, value) for live, value in pairs):
            wrong.append(name)
    if wrong:
        raise MergeError(
            f"PEFT gave {adapter!r} other layers or values than were merged",
            where=few(wrong),
            hint=_BY_FOLDERS,
        )
