"""Base models as files alone: made-up weights in a checkpoint that no test loads as a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from factories.adapters import LLM
from robustmerge.adapter.layout import written

VOCABULARY, HIDDEN = 20, 16


def weights(dtype: torch.dtype = torch.float32, *, head: bool = True) -> dict[str, Tensor]:
    """Make the weights that the adapters of `adapters` change, and others."""
    g = torch.Generator().manual_seed(7)
    shapes: dict[str, tuple[int, ...]] = {f"{n}.weight": shape for n, shape in LLM.items()}
    shapes["model.language_model.embed_tokens.weight"] = (VOCABULARY, HIDDEN)
    shapes["model.language_model.norm.weight"] = (HIDDEN,)
    for name in ("linear_1", "linear_2"):
        shapes[f"model.multi_modal_projector.{name}.weight"] = (6, 6)
        shapes[f"model.multi_modal_projector.{name}.bias"] = (6,)
    if head:
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    made = {name: torch.randn(*shape, generator=g).to(dtype) for name, shape in shapes.items()}
    return made | {"model.vision_tower.embeddings.position_ids": torch.arange(5)[None]}


def base(
    folder: Path,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    layout: str = "hf",
    cuts: Sequence[int] = (),
    **settings: Any,
) -> Path:
    """Write a checkpoint, in several files if `cuts` says so, with the other files of a model."""
    folder.mkdir(parents=True)
    named = {written(n, layout): t for n, t in (tensors or weights()).items()}
    names = sorted(named)
    ends = [0, *cuts, len(names)]
    parts = [names[a:b] for a, b in pairwise(ends)]
    index = {}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05}-of-{len(parts):05}.safetensors" if cuts else "model.safetensors"
        save_file({n: named[n] for n in part}, folder / file, metadata={"format": "pt", "by": "us"})
        index |= dict.fromkeys(part, file)
    if cuts:
        size = sum(t.numel() * t.element_size() for t in named.values())
        content = {"metadata": {"total_size": size}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", **settings}))
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja"):
        (folder / name).write_text(f'{{"name": "{name}"}}')
    for name in (
        "README.md",
        "adapter_config.json",
        "pytorch_model.bin.index.json",
        ".gitattributes",
    ):
        (folder / name).write_text("{}")
    return folder
