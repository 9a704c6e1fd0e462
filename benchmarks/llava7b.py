"""Adapters with the shapes of LLaVA-1.5-7B's: 224 modules of rank 16 in float16, 80 MB each.

Their values are drawn, not trained: all A's share an initialization and drift a little from it, and
B's columns differ in size. Run as a program, it fills a folder, or leaves it as it is if filled.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

RANK = 16
SHAPES = {
    **{f"self_attn.{leaf}_proj": (4096, 4096) for leaf in "qkvo"},
    **{f"mlp.{leaf}_proj": (11008, 4096) for leaf in ("gate", "up")},
    "mlp.down_proj": (4096, 11008),
}
"""(d_out, d_in) of a layer's modules."""


@dataclass(frozen=True)
class Model:
    """What adapters are drawn for.

    Attributes:
        base: Its name.
        folder: Of its adapters; {} is the number of layers.
        rank: Of every module.
        shapes: (d_out, d_in) of a layer's modules.
        pickle: Write every adapter as a pickle, too, outside of its folder.
    """

    base: str
    folder: str
    rank: int
    shapes: Mapping[str, tuple[int, int]]
    pickle: bool

    def config(self) -> dict[str, object]:
        """Return an adapter's settings."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base,
            "r": self.rank,
            "lora_alpha": 2 * self.rank,
            "lora_dropout": 0.05,
            "bias": "none",
            "target_modules": sorted(name.rpartition(".")[2] for name in self.shapes),
        }


LLAVA = Model("liuhaotian/llava-v1.5-7b", "layers-{}", RANK, SHAPES, pickle=True)


def adapters(folder: Path, count: int = 8, layers: int = 32, model: Model = LLAVA) -> list[Path]:
    """Adapter folders, each with its weights; made where missing."""
    parent = folder / model.folder.format(layers)
    return [_adapter(parent / f"task-{t}", t, layers, model) for t in range(count)]


def pickled(folder: Path) -> Path:
    """Return an adapter's weights as a pickle: in its folder, every merge would compare both."""
    return folder.parent / "pickles" / f"{folder.name}.bin"


def size(folder: Path) -> int:
    """Bytes of an adapter's weights."""
    return (folder / "adapter_model.safetensors").stat().st_size


def _adapter(folder: Path, task: int, layers: int, model: Model) -> Path:
    config = folder / "adapter_config.json"
    if config.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for layer in range(layers):
        for n, (leaf, shape) in enumerate(model.shapes.items()):
            prefix = f"base_model.model.model.layers.{layer}.{leaf}"
            A, B = draw(shape, task, layer * len(model.shapes) + n, model.rank)
            tensors[f"{prefix}.lora_A.weight"] = A
            tensors[f"{prefix}.lora_B.weight"] = B
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if model.pickle:
        pickled(folder).parent.mkdir(exist_ok=True)
        torch.save(tensors, pickled(folder))
    # Last, so that an interrupted run is made again.
    config.write_text(json.dumps(model.config(), indent=2), encoding="utf-8")
    return folder


def draw(shape: tuple[int, int], task: int, module: int, rank: int = RANK) -> tuple[Tensor, Tensor]:
    """Draw A near an initialization that all tasks share, and B of the task alone."""
    d_out, d_in = shape
    shared, own = np.random.default_rng(module), np.random.default_rng((task, module))
    A = (2 * shared.random((rank, d_in), np.float32) - 1) * np.float32(d_in**-0.5)
    A += np.float32(0.1 * d_in**-0.5) * own.standard_normal(A.shape, np.float32)
    columns = own.uniform(0.005, 0.015, rank).astype(np.float32)
    B = own.standard_normal((d_out, rank), np.float32) * columns
    return torch.from_numpy(A).half(), torch.from_numpy(B).half()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".bench"))
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--adapters", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = adapters(arguments.folder, arguments.adapters, arguments.layers)
    print(f"{len(made)} adapters of {size(made[0]) / 1e6:.0f} MB in {made[0].parent}")


if __name__ == "__main__":
    main()
