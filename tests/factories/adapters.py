"""Small adapters for tests, written as PEFT writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from robustmerge.factors import Factors, Stack

LLM = {
    f"model.language_model.layers.{n}.{leaf}": shape
    for n in range(2)
    for leaf, shape in {
        "self_attn.q_proj": (24, 16),
        "self_attn.v_proj": (12, 16),
        "mlp.down_proj": (16, 40),
    }.items()
}
"""Modules of a tiny language model: (d_out, d_in)."""


def factors(
    d_out: int, d_in: int, rank: int, seed: int, dtype: torch.dtype = torch.float32
) -> Factors:
    """Return a random update."""
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(rank, d_in, generator=g, dtype=torch.float64)
    B = torch.randn(d_out, rank, generator=g, dtype=torch.float64)
    return Factors(A.to(dtype), B.to(dtype))


def stack(
    d_out: int = 12,
    d_in: int = 10,
    ranks: Sequence[int] = (3, 3, 3),
    weights: Sequence[float] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Stack:
    """Return a stack of random updates."""
    made = [factors(d_out, d_in, r, seed * 1000 + t, dtype) for t, r in enumerate(ranks)]
    return Stack.of(made, [float(w) for w in weights] if weights is not None else None)


def rows(*taus: Sequence[float], weights: Sequence[float] | None = None) -> Stack:
    """Return a module of one output whose deltas are these rows."""
    updates = [
        Factors(torch.tensor([tau], dtype=torch.float64), torch.ones(1, 1).double()) for tau in taus
    ]
    return Stack.of(updates, [float(w) for w in weights] if weights else None)


def adapter(
    folder: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    alpha: float = 8,
    modules: Mapping[str, tuple[int, int]] = LLM,
    ranks: Mapping[str, int] | None = None,
    dtype: torch.dtype = torch.float32,
    extras: Mapping[str, Tensor] | None = None,
    binary: bool = False,
    **settings: Any,
) -> Path:
    """Write an adapter folder and return it.

    `ranks` overrides single modules' ranks in the tensors; give `rank_pattern` in the settings too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for i, (name, (d_out, d_in)) in enumerate(modules.items()):
        made = factors(d_out, d_in, (ranks or {}).get(name, rank), seed * 100 + i, dtype)
        tensors[f"base_model.model.{name}.lora_A.weight"] = made.A
        tensors[f"base_model.model.{name}.lora_B.weight"] = made.B
    for name, tensor in (extras or {}).items():
        tensors[f"base_model.model.{name}"] = tensor
    if binary:
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny/base",
        "r": rank,
        "lora_alpha": alpha,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in modules}),
        **settings,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def older_merge(folder: Path, **options: Any) -> Path:
    """Write an adapter with the record of a merge, which --force may replace."""
    adapter(folder, seed=9, **options)
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    (folder / "merge.json").write_text(json.dumps({"format": 1, "output": {"sha256": hashes}}))
    return folder


def trio(root: Path, **settings: Any) -> list[str]:
    """Three adapters of one model."""
    return [str(adapter(root / name, seed=i, **settings)) for i, name in enumerate("abc")]


def deltas(folder: Path | str) -> dict[str, Tensor]:
    """Return every module's update in float64, read without the package: scaling times B A."""
    from safetensors.torch import load_file

    folder = Path(folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert not config.get("rank_pattern")
    assert not config.get("alpha_pattern")
    rank, alpha = config["r"], config["lora_alpha"]
    scaling = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): scaling
        * (tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double())
        for name in tensors
        if name.endswith("lora_A.weight")
    }
