"""Where A starts: it hardly moves in training, and so decides what can be merged.

shared       every task starts from the same A, as where each is trained by the same script with
             the same seed; updates then live in the same few input directions
independent  every task starts from its own

A's entries are uniform in ±1/√d_in, as PEFT's are, and B is zero. They are drawn on the CPU by a
generator of their own for every module, seeded by seed and the module's canonical name (and the
task's, if independent): neither the order of modules nor processes, devices or versions matter.
"""

from __future__ import annotations

import hashlib

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from robustmerge.adapter import layout

from .recipe import Init

_PREFIX = "base_model.model."


def start_A(model: PeftModel, init: Init, seed: int, task: str, adapter: str = "default") -> None:  # noqa: N802
    """Set every A of an adapter to where it starts.

    Args:
        model: The model; B is zero, as PEFT leaves it.
        init: Whether the task matters.
        seed: Of the draws.
        task: The task's name.
        adapter: The adapter's name in the model.
    """
    whose = task if init == "independent" else ""
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            weight = layer.lora_A[adapter].weight
            module = layout.canonical(name.removeprefix(_PREFIX))
            with torch.no_grad():
                weight.copy_(drawn(module, weight.shape, seed, whose))


def drawn(module: str, shape: torch.Size, seed: int, task: str = "") -> Tensor:
    """The A that a module starts from: [rank, d_in], float32."""
    key = hashlib.sha256(f"{seed}\n{task}\n{module}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big"))
    bound = shape[1] ** -0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
