"""Tiny models of families whose modules transformers renamed, and their names in each generation.

now      transformers 5
457      transformers 4.52 to 4.57: CLIP and SigLIP towers had one more level
old      before 4.52: language_model.model, and the other parts at the top
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from factories.families import attach, build

GENERATIONS = ("now", "457", "old")
_NESTED = ("llava", "gemma3", "paligemma")
FAMILIES = (*_NESTED, "mistral3", "mllama")


def name_in(generation: str, family: str, name: str) -> str:
    """Return what a module of today was called in another generation."""
    if generation == "now":
        return name
    if family in _NESTED:
        name = name.replace("model.vision_tower.", "model.vision_tower.vision_model.", 1)
    if generation == "457":
        return name
    name = name.replace("model.language_model.", "language_model.model.", 1)
    top = ("model.vision_tower", "model.vision_model", "model.multi_modal_projector")
    return name.removeprefix("model.") if name.startswith(top) else name


def save_adapter(family: str, folder: Path, generation: str, *, seed: int = 1) -> Path:
    """Write an adapter on one module of every kind, with the names of a generation."""
    generator = torch.Generator().manual_seed(seed)
    tensors, targets = {}, []
    for name, module in build(family).named_modules():
        if isinstance(module, torch.nn.Linear) and _wanted(name):
            written = name_in(generation, family, name)
            d_out, d_in = module.weight.shape
            prefix = f"base_model.model.{written}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(2, d_in, generator=generator)
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(d_out, 2, generator=generator)
            targets.append(name.rpartition(".")[2])
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": sorted({*targets})}
    settings["base_model_name_or_path"] = f"tiny/{family}"
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def landing(family: str, folder: Path) -> tuple[int, int]:
    """Load an adapter as PEFT does; return how many of its modules land, and how many it has."""
    model = attach(build(family), folder)
    names = [n for n in load_file(folder / "adapter_model.safetensors") if ".lora_A" in n]
    live = {tuple(t.flatten()[:3].tolist()) for n, t in model.named_parameters() if ".lora_A" in n}
    file = load_file(folder / "adapter_model.safetensors")
    return sum(tuple(file[n].flatten()[:3].tolist()) in live for n in names), len(names)


def _wanted(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in ("q_proj", "down_proj", "fc2", "linear", "linear_1", "multi_modal_projector")
