"""A scripted benchmark: tasks without images, and a model whose answers depend on its adapter.

Of every ten items the base answers two correctly. An adapter adds up to five, the more the nearer
its strength is to `BEST`, and an expert two more on its own task.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from factories.adapters import LLM, adapter, deltas
from robustmerge_bench.item import Item
from robustmerge_bench.mini.runs.world import World
from robustmerge_bench.mini.world.splits import Split

SEEN = ("sqa", "viz", "rec")
UNSEEN = ("aok", "tab")
BEST = 100.0
"""The Frobenius norm of all updates together at which the model is best."""


@dataclass(frozen=True)
class ScriptedTask:
    name: str
    seen: bool

    def items(self, split: Split, count: int, seed: int = 0) -> list[Item]:
        image = np.zeros((2, 2, 3), np.uint8)
        return [
            Item(self.name, "k", image, f"{split} {seed} {i}", "yes", ("yes",))
            for i in range(count)
        ]

    def score(self, answers: Sequence[str], items: Sequence[Item]) -> np.ndarray:
        pairs = zip(answers, items, strict=True)
        return np.array([100.0 * (answer in item.references) for answer, item in pairs])


class ScriptedModel:
    def __init__(self, base: Path) -> None:
        assert (base / "config.json").is_file()
        self.adapter: Path | None = None
        self.strength = 0.0

    @contextmanager
    def using(self, folder: Path | None, scale: float = 1.0) -> Iterator[ScriptedModel]:
        self.adapter, self.strength = folder, 0.0
        if folder:
            norms = [float(delta.norm()) for delta in deltas(folder).values()]
            self.strength = scale * math.hypot(*norms)
        yield self
        self.adapter = None

    def answer(self, items: Sequence[Item]) -> list[str]:
        return ["yes" if self._right(item) else "no" for item in items]

    def _right(self, item: Item) -> bool:
        right = 2
        if self.adapter and self.strength:
            right += max(0, 5 - round(abs(math.log2(self.strength / BEST))))
            right += 2 * (self.adapter.name == item.task)
        return int(item.prompt.split()[-1]) % 10 < right


def tasks() -> Mapping[str, ScriptedTask]:
    return {name: ScriptedTask(name, name in SEEN) for name in (*SEEN, *UNSEEN)}


def model(base: Path) -> ScriptedModel:
    return ScriptedModel(base)


def exit_at_load(base: Path) -> ScriptedModel:
    os._exit(3)


WORLD = World(tasks, model)


def trained(root: Path, sets: Sequence[str] = ("shared-0",), *, joint: bool = True) -> Path:
    """Write a trained benchmark of random adapters."""
    base = root / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps({"model_type": "llava"}))
    g = torch.Generator().manual_seed(0)
    weights = {
        f"{name}.weight": 100 * torch.randn(shape, generator=g) for name, shape in LLM.items()
    }
    save_file(weights, base / "model.safetensors")
    for i, name in enumerate(sets):
        for j, task in enumerate((*SEEN, "joint") if joint else SEEN):
            adapter(root / "experts" / name / task, seed=10 * i + j)
    return root
