"""A tiny model with live adapters, and what a test wants to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

ALL = ["up", "down", "embed"]
PLAIN: Mapping[str, Mapping[str, Any]] = {
    "one": {"r": 4, "lora_alpha": 3},
    "two": {"r": 6, "lora_alpha": 16, "alpha_pattern": {r"layers.1.up": 5}},
    "three": {"r": 2, "target_modules": ["down", "embed"]},
}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).tanh())


class Tiny(nn.Module):
    """Embeddings, two blocks, a last layer whose name ends the names of others."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([Block(), Block()])})
        self.up = nn.Linear(8, 9)
        self.norm = nn.LayerNorm(8)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.model["layers"]:
            x = block(x)
        return self.up(self.norm(x))


IDS = torch.arange(11)[None]


def tiny(adapters: Mapping[str, Mapping[str, Any]], base: nn.Module | None = None) -> PeftModel:
    """A tiny model with adapters of these settings, none of them zero, in evaluation mode."""
    torch.manual_seed(0)
    made = [(n, LoraConfig(**({"target_modules": ALL} | dict(c)))) for n, c in adapters.items()]
    model = get_peft_model(base or Tiny(), made[0][1], adapter_name=made[0][0])
    for name, config in made[1:]:
        model.add_adapter(name, config)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(parameter)
    return model.eval()


def run(model: PeftModel, adapter: str) -> Tensor:
    """What the model computes with one adapter."""
    before = model.active_adapters
    model.set_adapter(adapter)
    with torch.no_grad():
        output: Tensor = model(IDS)
    model.base_model.set_adapter(before)
    return output


def deltas(model: PeftModel, adapter: str) -> dict[str, Tensor]:
    """What an adapter adds to each layer, from the layers' own forward passes."""
    before, found = model.active_adapters, {}
    model.set_adapter(adapter)
    for name, layer in model.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            base = layer.get_base_layer()
            embedding = isinstance(base, nn.Embedding)
            eye = torch.eye(layer.in_features, dtype=base.weight.dtype)
            x = torch.arange(11) if embedding else eye
            with torch.no_grad():
                found[name] = layer(x) - base(x)
    model.base_model.set_adapter(before)
    return found


def factors(model: PeftModel, adapter: str) -> dict[str, Tensor]:
    """An adapter's parameters by name, without the adapter's own."""
    return {
        ".".join(part for part in name.split(".") if part != adapter): parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if adapter in name.split(".")
    }


def assert_weighted_sum(model: PeftModel, merged: str, weights: Mapping[str, float]) -> None:
    """Every layer's delta under `merged` is the weighted sum of those of the adapters."""
    parts = {name: deltas(model, name) for name in weights}
    for layer, delta in deltas(model, merged).items():
        wanted = sum(w * parts[name][layer] for name, w in weights.items())
        assert isinstance(wanted, Tensor)
        assert wanted.abs().max() > 0.5
        torch.testing.assert_close(delta, wanted, atol=1e-9, rtol=1e-9)


def state(model: PeftModel) -> dict[str, Any]:
    """Whatever a user may have set on a model or its adapters."""
    modules = [m for m in model.modules() if isinstance(m, LoraLayer)]
    return {
        "adapters": list(model.peft_config),
        "active": (model.active_adapters, {tuple(m.active_adapters) for m in modules}),
        "disabled": {m.disable_adapters for m in modules},
        "gradients": {n: p.requires_grad for n, p in model.named_parameters()},
        "training": {n: m.training for n, m in model.named_modules()},
        "values": {n: p.detach().clone() for n, p in model.named_parameters()},
        "random": torch.get_rng_state(),
        "held": sorted(n for m in modules for n in (*m.lora_A, *m.lora_embedding_A, *m.r)),
    }


def assert_kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for field in ("active", "disabled"):
        assert before[field] == after[field]
    for field in ("gradients", "training"):
        assert before[field].items() <= after[field].items()
    for name, value in before["values"].items():
        assert torch.equal(value.nan_to_num(7), after["values"][name].nan_to_num(7))
    assert torch.equal(before["random"], after["random"])
