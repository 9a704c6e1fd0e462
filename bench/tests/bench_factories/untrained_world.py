"""A trained benchmark that is not trained: a model of random weights and random experts."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from peft import get_peft_model

from robustmerge_bench.mini.tasks import SEEN
from robustmerge_bench.mini.training.experts import JOINT, lora
from robustmerge_bench.mini.training.model import build
from robustmerge_bench.mini.training.processor import make_tokenizer
from robustmerge_bench.mini.training.sizes import SIZES
from robustmerge_bench.mini.training.train import settle


def make_root(root: Path, experts: str = "shared-0") -> Path:
    """Write a root as a training leaves it, with one set of experts, no two of them equal."""
    torch.manual_seed(0)
    root.mkdir(parents=True)
    settle(root, {"size": "nano", **asdict(SIZES["nano"])})
    tokenizer = make_tokenizer()
    model = build(SIZES["nano"].shape, tokenizer)
    model.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        expert = get_peft_model(model, lora(SIZES["nano"].expert))
    expert.peft_config["default"].base_model_name_or_path = "robustmerge-mini"
    for name in (*SEEN, JOINT):
        with torch.no_grad():
            for key, weight in expert.named_parameters():
                if weight.requires_grad and "lora_A" not in key:
                    weight.normal_(std=0.1)
        # Told nothing about embeddings, PEFT would look for the base on the Hub.
        expert.save_pretrained(root / "experts" / experts / name, save_embedding_layers=False)
    return root
