"""The file for llama.cpp: as its own converter writes it, tensor by tensor, and in its program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from clients.environments import ROOT, python
from clients.llama_matrix import CLIENT, bases, save_adapter as save_text_adapter
from factories.adapters import adapter
from factories.families import FAMILIES, build, save_adapter
from robustmerge.export import export_adapter

pytestmark = pytest.mark.clients

WORK = ROOT / "work/gguf"
ARCHITECTURES = {
    "llava_next": "MistralForCausalLM",
    "llava_onevision": "Qwen2ForCausalLM",
    "internvl": "Qwen2ForCausalLM",
    "idefics3": "LlamaForCausalLM",
    "smolvlm": "LlamaForCausalLM",
}
"""What the converter has to be told of language models inside."""
TEXT = (
    *("llama", "mistral", "mixtral", "granite", "smollm3", "phi3"),
    *("gemma", "gemma2", "gemma3_text", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"),
)
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "pad_token_id": 0,
}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
EXPERT_SHAPES = {
    "qwen3_moe": {"mlp.experts.{}.gate_proj": (32, 64), "mlp.experts.{}.down_proj": (64, 32)},
    "mixtral": {
        f"block_sparse_moe.experts.{{}}.{name}": shape
        for name, shape in (("w1", (96, 64)), ("w2", (64, 96)), ("w3", (96, 64)))
    },
}
"""Modules by the names that the converter reads, which are in no model of transformers 5."""
EXPERT_SHAPES["qwen3_moe"]["mlp.experts.{}.up_proj"] = (32, 64)


def multimodal(folder: Path, family: str) -> None:
    build(family).save_pretrained(folder / "base")
    path = folder / "base/config.json"
    settings = json.loads(path.read_text())
    if family in ARCHITECTURES:
        settings["text_config"]["architectures"] = [ARCHITECTURES[family]]
        path.write_text(json.dumps(settings))
    save_adapter(family, folder / "a", seed=1)


def text_only(folder: Path, kind: str) -> None:
    more = EXPERTS if "moe" in kind or kind == "mixtral" else {}
    config = AutoConfig.for_model(kind, **SIZES, **more, tie_word_embeddings="gemma" in kind)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder / "base")
    modules = {
        name: (layer.out_features, layer.in_features)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and not (name == "lm_head" and "gemma" in kind)
    }
    for leaf, shape in EXPERT_SHAPES.get(kind, {}).items():
        modules |= {f"model.layers.{n}.{leaf.format(e)}": shape for n in (0, 1) for e in range(4)}
    adapter(folder / "a", modules=modules)


NOT_TRIED = {
    "paligemma": "the converter does not know it; tests/export/test_gguf.py has the refusal",
    "mllama": "the converter does not know it; tests/export/test_gguf.py has the refusal",
    "mistral3": "the converter reads a published tokenizer first",
}


@pytest.mark.parametrize("name", [*(f for f in FAMILIES if f not in NOT_TRIED), *TEXT])
def test_every_tensor_is_that_of_the_converter(name: str) -> None:
    import gguf

    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    (multimodal if name in FAMILIES else text_only)(folder, name)
    export_adapter(
        folder / "a", folder / "ours.gguf", format="gguf", base=str(folder / "base"), force=True
    )
    program = python("llama.cpp")
    script = program.parents[1] / "llama.cpp/convert_lora_to_gguf.py"
    paths = [str(folder / "a"), "--base", str(folder / "base")]
    paths += ["--outfile", str(folder / "theirs.gguf"), "--outtype", "f32"]
    subprocess.run([str(program), str(script), *paths], env=offline(), check=True)
    ours, theirs = (gguf.GGUFReader(folder / f"{who}.gguf") for who in ("ours", "theirs"))
    for key in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"):
        assert ours.fields[key].contents() == theirs.fields[key].contents()
    tensors = {tensor.name: tensor for tensor in ours.tensors}
    assert tensors.keys() == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        mine = tensors[tensor.name]
        assert (mine.shape.tolist(), mine.tensor_type) == (
            tensor.shape.tolist(),
            tensor.tensor_type,
        )
        assert (mine.data == tensor.data).all()


CASES: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "k_proj", "o_proj"]},
    "ranks": {"target_modules": ["gate_proj", "down_proj"], "rank_pattern": {"down_proj": 2}},
    "alphas": {"target_modules": ["q_proj", "up_proj"], "alpha_pattern": {"q_proj": 3}},
    "rsLoRA": {"target_modules": ["q_proj", "up_proj"], "use_rslora": True},
    "vocabulary": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
}


@pytest.mark.parametrize("case", CASES)
def test_the_program_computes_what_peft_does(case: str) -> None:
    root = WORK / "run"
    base = next(folder for name, folder, _ in bases(root) if name == "llama")
    model = root / "base.gguf"
    if not model.exists():
        run_client("base", base, model)
    source = save_text_adapter(root / case, base, CASES[case])
    file = root / f"{case}.gguf"
    export_adapter(source, file, format="gguf", base=str(base), force=True)
    assert run_client("converted", base, model, source, file).startswith("as the input")


def run_client(*arguments: str | Path) -> str:
    command = [str(python("llama.cpp")), str(CLIENT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=offline(), check=False)
    lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return lines[-1] if lines else f"ended with {done.returncode}: {done.stderr[-400:]}"


def offline() -> dict[str, str]:
    """The environment of a program: without this package's path, without the network."""
    own = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    own.pop("PYTHONPATH", None)
    return own
