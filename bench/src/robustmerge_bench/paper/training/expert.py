"""The base with an untrained adapter, and the start of A, which decides what can be merged.

A hardly moves in training. Its starting values are

    shared       the same for every task, as where each is trained by the same script with the same
                 seed; the updates then live in the same few input directions
    independent  different for every task

A's entries are uniform in ±1/√d_in, as in PEFT, and B is zero. They are drawn on the CPU by a
separate generator for every module, seeded by the seed and the module's canonical name (and the
task's, if independent): the order of modules, processes, devices and versions do not matter.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from robustmerge.adapter import layout

from .families import check_lora_layers, language_layers, last_parts, projector_modules
from .recipe import StartOfA, TrainingRecipe

LORA = "lora_"
"""Part of the names of a LoRA's parameters; other trained parameters are the projector's."""

_PREFIX = "base_model.model."


def with_lora(model: Any, recipe: TrainingRecipe, task: str) -> PeftModel:
    """Put an untrained LoRA on a base's language model, and train its projector or freeze it.

    Trained parameters are in float32, whatever the base is in: rates of 2e-5 change nothing in
    bfloat16.

    The task's name matters for independent starts of A.
    """
    targets = language_layers(model)
    trained = recipe.projector == "trained"
    projector = projector_modules(model, model.config.model_type) if trained else None
    model.requires_grad_(False)
    model.config.use_cache = model.config.get_text_config().use_cache = False
    expert: PeftModel = get_peft_model(
        model,
        LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=last_parts(targets),
            exclude_modules=layout.NOT_LANGUAGE,
            modules_to_save=projector,
            task_type="CAUSAL_LM",
        ),
    )
    check_lora_layers(targets, lora_modules(expert))
    start_A(expert, recipe.init, recipe.seed, task)
    for module in expert.modules():
        _to_float32(module)
    return expert


def lora_modules(model: PeftModel) -> list[str]:
    """Return the names of the modules with a LoRA, as in the base."""
    return [
        name
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, LoraLayer)
    ]


def start_A(model: PeftModel, init: StartOfA, seed: int, task: str) -> None:  # noqa: N802
    """Set every A to its starting values; B is zero, as PEFT leaves it."""
    key = task if init == "independent" else ""
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            weight = layer.lora_A["default"].weight
            module = layout.canonical(name.removeprefix(_PREFIX))
            with torch.no_grad():
                weight.copy_(draw_A(module, weight.shape, seed, key))


def draw_A(module: str, shape: torch.Size, seed: int, task: str = "") -> Tensor:  # noqa: N802
    """Draw the starting values of a module's A: [rank, d_in], float32."""
    key = hashlib.sha256(f"{seed}\n{task}\n{module}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big"))
    bound = shape[1] ** -0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def hash_A(model: PeftModel) -> str:  # noqa: N802
    """Return a hash of every A, by which adapters with the same start are known."""
    digest = hashlib.sha256()
    for _, layer in sorted(model.named_modules()):
        if isinstance(layer, LoraLayer):
            digest.update(layer.lora_A["default"].weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _to_float32(module: nn.Module) -> None:
    """Convert a module's own trained parameters to float32."""
    for name, weight in module.named_parameters(recurse=False):
        if weight.requires_grad and weight.dtype != torch.float32:
            setattr(module, name, nn.Parameter(weight.data.float()))
