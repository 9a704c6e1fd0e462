"""Layers that multiply once compute what PEFT's do, and are PEFT's again afterwards."""

from __future__ import annotations

from copy import deepcopy

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from robustmerge_bench.midi.training.merged_linear import multiply_once


class Two(nn.Module):
    """Two layers, the first of which is given inputs without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5, bias=False)
        self.second = nn.Linear(5, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    y = model(x)
    (y * torch.arange(4.0)).square().sum().backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [y.detach(), *found]


def test_outputs_and_gradients_are_those_of_peft() -> None:
    torch.manual_seed(0)
    settings = LoraConfig(r=3, lora_alpha=6, target_modules=["first", "second"])
    wrapped = get_peft_model(Two(), settings)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    x = torch.randn(2, 7, 6)
    before = gradients(wrapped, x)
    state = deepcopy(wrapped.state_dict())
    with multiply_once(wrapped, torch.float32):
        inside = gradients(wrapped, x)
        with torch.no_grad():
            moved = [2 * weight for name, weight in wrapped.named_parameters() if "lora_B" in name]
            layers = [wrapped.base_model.model.first, wrapped.base_model.model.second]
            for layer, weight in zip(layers, moved, strict=True):
                layer.lora_B["default"].weight.copy_(weight)
            changed = wrapped(x)
    torch.testing.assert_close(wrapped(x), changed)
    wrapped.load_state_dict(state)
    after = gradients(wrapped, x)
    assert len(before) == len(inside) == 5  # outputs, and two factors of two layers
    for ours, theirs in zip(inside, before, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(after, before, strict=True):
        assert torch.equal(ours, theirs)
    assert all(torch.equal(weight, state[name]) for name, weight in wrapped.state_dict().items())
