"""The base itself as one more expert: an adapter that changes nothing, and generic prompts.

The prompts are those of the base's own training: questions with plain instructions about scenes of
every sort, with phrases that change nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load, save_file

from robustmerge_bench.item import Item, item_generator
from robustmerge_bench.mini.world.generic import example

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_SPLIT = 1  # a source of its own, not that of a task's items


def generic_items(count: int) -> list[Item]:
    """Draw items of the base's training mixture, one question about each image."""
    rng = item_generator("generic", _SPLIT, 0)
    items = []
    for number in range(count):
        drawn = example(rng)
        turn = drawn.turns[number % len(drawn.turns)]
        items.append(Item("generic", "", drawn.image, turn.question, turn.answer, (turn.answer,)))
    return items


def write_unchanged(expert: Path, folder: Path) -> Path:
    """Write an adapter like an expert whose B is zero, without fully trained parameters.

    A merge with the base takes the base's own in their place (`missing=zero`).
    """
    folder.mkdir()
    tensors = load((expert / _WEIGHTS).read_bytes())
    kept = {
        name: torch.zeros_like(tensor) if ".lora_B." in name else tensor
        for name, tensor in tensors.items()
        if ".lora_" in name
    }
    save_file(kept, folder / _WEIGHTS, metadata={"format": "pt"})
    settings = json.loads((expert / _CONFIG).read_text(encoding="utf-8"))
    settings["modules_to_save"] = None
    (folder / _CONFIG).write_text(json.dumps(settings), encoding="utf-8")
    return folder
