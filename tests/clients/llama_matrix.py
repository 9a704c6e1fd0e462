"""llama.cpp: a text-only base with two weights and with one, and the laptop benchmark's LLaVA."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

from clients.cases import Output, agrees, predicted, rewrite, table
from clients.environments import python

CLIENT = Path(__file__).with_name("llama_client.py")
LLAVA = Path("bench/artifacts/mini/base")
MLP = ["gate_proj", "up_proj", "down_proj"]
TEXT_CASES: Mapping[str, dict[str, Any]] = {
    "language": {"target_modules": MLP},
    "attention": {"target_modules": ["q_proj", "k_proj"]},
    "ranks": {"target_modules": MLP, "rank_pattern": {"down_proj": 2}, "use_rslora": True},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "whole head": {"target_modules": MLP, "modules_to_save": ["lm_head"]},
    "norms": {"target_modules": MLP, "modules_to_save": ["input_layernorm"]},
    "token rows": {"target_modules": MLP, "trainable_token_indices": [5, 9]},
}
LLAVA_CASES: Mapping[str, dict[str, Any]] = {
    "language": {"target_modules": MLP},
    "tower": {"target_modules": ["q_proj", "v_proj"]},
    "projector": {"target_modules": MLP, "modules_to_save": ["multi_modal_projector"]},
}
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128}


def run(root: Path) -> str:
    """Make bases and adapters, rewrite and convert them; return the document's section."""
    rows = []
    for name, base, cases in bases(root):
        gguf = root / f"{name}.gguf"
        if not gguf.exists():
            _client("base", str(base), str(gguf))
        for case, settings in cases.items():
            source = save_adapter(root / name / case.replace(" ", "-"), base, settings)
            for layout in (None, "hf-old", "flat") if name == "llava" else (None,):
                target = source.with_name(f"{source.name}-{layout or 'same'}-out")
                output = rewrite(Output(name, case, layout, base, source, target))
                if output.output is None:
                    rows.append([name, case, output.label, "–", f"refused: {output.refusal}"])
                    continue
                said = predicted(output, "llama.cpp")
                seen = _client("adapter", str(base), str(gguf), str(output.output))
                rows.append([name, case, output.label, said, seen])
                (root / "llama.json").write_text(json.dumps(rows, indent=0))
    return section(rows)


def section(rows: list[list[str]]) -> str:
    """Write the table."""
    marked = [[*row, "" if row[3] == "–" or agrees(row[3], row[4]) else "wrong"] for row in rows]
    return table(["base", "contents", "layout", "check", "seen", "check is"], marked)


def bases(root: Path) -> list[tuple[str, Path, Mapping[str, dict[str, Any]]]]:
    """Return bases by name with the adapters that are made for them."""
    made = []
    for name, tied in (("llama", False), ("llama-tied", True)):
        folder = root / name / "base"
        torch.manual_seed(0)
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1}
        config = LlamaConfig(**SIZES, **heads, tie_word_embeddings=tied)
        LlamaForCausalLM(config).save_pretrained(folder)
        made.append((name, folder, TEXT_CASES))
    return [*made, ("llava", LLAVA, LLAVA_CASES)]


def save_adapter(folder: Path, base: Path, settings: Mapping[str, Any]) -> Path:
    """Save an adapter that moves every tensor it holds away from its start."""
    if folder.exists():
        return folder
    kind = LlavaForConditionalGeneration if base == LLAVA else LlamaForCausalLM
    model = kind.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, **settings))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def _client(*arguments: str) -> str:
    """Run the client; return what it saw, or that it ended without a result."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    offline.pop("PYTHONPATH", None)
    command = [str(python("llama.cpp")), str(CLIENT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=offline, check=False)
    lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if lines:
        return lines[-1]
    return "" if done.returncode == 0 else f"ended with {done.returncode}"
