"""The base with a LoRA on its language model and its projector trained whole, or frozen."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

from robustmerge.adapter import layout

from .families import adapted, check_adapted, connectors, leaves
from .recipe import TrainingRecipe
from .start import start_A

LORA = "lora_"
"""What the names of a LoRA's parameters hold; the other parameters trained are the projector's."""


def with_lora(model: Any, recipe: TrainingRecipe, task: str) -> PeftModel:
    """Put an untrained LoRA on a base.

    What is trained is in float32, whatever the base is in: rates of 2e-5 change nothing in
    bfloat16.

    Args:
        model: The base, of transformers.
        recipe: Rank, dropout, projector, and where A starts.
        task: The task's name, which matters if A's are independent.

    Raises:
        MergeError: The model is of no family that is known.
    """
    wanted = adapted(model)
    whole = connectors(model, model.config.model_type) if recipe.projector == "trained" else None
    model.requires_grad_(False)
    model.config.use_cache = model.config.get_text_config().use_cache = False
    expert: PeftModel = get_peft_model(
        model,
        LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=leaves(wanted),
            exclude_modules=layout.NOT_LANGUAGE,
            modules_to_save=whole,
            task_type="CAUSAL_LM",
        ),
    )
    check_adapted(wanted, lora_places(expert))
    start_A(expert, recipe.init, recipe.seed, task)
    for module in expert.modules():
        _to_float32(module)
    return expert


def lora_places(model: PeftModel) -> list[str]:
    """Names of the modules with a LoRA, as the base has them."""
    return [
        name
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, LoraLayer)
    ]


def _to_float32(module: nn.Module) -> None:
    """Put what a module itself trains in float32."""
    for name, weight in module.named_parameters(recurse=False):
        if weight.requires_grad and weight.dtype != torch.float32:
            setattr(module, name, nn.Parameter(weight.data.float()))
